#!/usr/bin/env python3
"""Time the scan, the mixer, the backbone, and whole detectors and segmentors, several settings side by side.

Settings take turns within one run, round after round, so that whatever else the machine does falls on all of them;
medians with quartiles are printed, and ratios to the first setting of a group. Times of different runs are not to be
compared.
"""
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere, installed or not
os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # the profiler, which counts bytes, complains where there is no GPU

from mmvision_mamba.benchmark.command import main

if __name__ == '__main__':
    sys.exit(main())
