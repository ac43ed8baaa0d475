"""Hooks for mmengine's Runner, one per file."""
