#!/usr/bin/env python3
"""`tools/dev/gpu_check`, a folder that Python runs."""
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[depth]) for depth in (3, 1)]  # the checkout, and this package

from gpu_check.command import main  # noqa: E402

if __name__ == '__main__':
    sys.exit(main())
