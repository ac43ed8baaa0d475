#!/usr/bin/env python3
"""The former place of `mmvision_mamba/runtime/standalone.py`: runs it, and hands on its names."""
import runpy
from pathlib import Path

STANDALONE = Path(__file__).resolve().parents[1] / 'runtime' / 'standalone.py'

if __name__ == '__main__':
    runpy.run_path(str(STANDALONE), run_name='__main__')
else:
    from mmvision_mamba.runtime.standalone import *  # noqa: F403
