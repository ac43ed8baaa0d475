#!/usr/bin/env python3
"""`mmvision-mamba serve`, from a checkout."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere, installed or not

from mmvision_mamba.commands import main

if __name__ == '__main__':
    sys.exit(main('serve'))
