"""Checks of all that needs a GPU; `tools/dev/gpu_check --help` tells what they are."""
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
