"""What several tests share: small models, configs and data sets, and the checkout's folder. No tests."""
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
