#!/usr/bin/env python3
"""tools/dev/pack_wheels.py, under the path it had before."""
import runpy
from pathlib import Path

if __name__ == '__main__':
    runpy.run_path(str(Path(__file__).resolve().parent / 'dev' / 'pack_wheels.py'), run_name='__main__')
