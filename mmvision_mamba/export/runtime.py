#!/usr/bin/env python3
"""The former place of `mmvision_mamba/runtime/standalone.py`: runs it, and hands on its names."""
import runpy
import sys
from pathlib import Path

STANDALONE = Path(__file__).resolve().parents[1] / 'runtime' / 'standalone.py'

if __name__ == '__main__':
    if not STANDALONE.is_file():
        sys.exit(f'{__file__} only leads to mmvision_mamba/runtime/standalone.py: copy that file, it works alone')
    runpy.run_path(str(STANDALONE), run_name='__main__')
else:
    from mmvision_mamba.runtime.standalone import *  # noqa: F403
