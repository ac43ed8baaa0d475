"""Checkpoint files: read without running code, written so that a crash loses nothing, chosen to resume from."""
