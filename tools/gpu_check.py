#!/usr/bin/env python3
"""tools/dev/gpu_check, under the path it had before."""
import runpy
from pathlib import Path

if __name__ == '__main__':
    runpy.run_path(str(Path(__file__).resolve().parent / 'dev' / 'gpu_check'), run_name='__main__')
