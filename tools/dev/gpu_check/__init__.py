"""Checks of all that needs a GPU; `tools/dev/gpu_check --help` tells what they are."""
import time
from pathlib import Path

BEGUN = time.monotonic()  # before PyTorch is imported, which takes long on a new machine
ROOT = Path(__file__).resolve().parents[3]
