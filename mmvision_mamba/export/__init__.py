"""Models in formats that run elsewhere."""
