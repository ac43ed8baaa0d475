"""Inference on pictures of any size, by windows that are read one by one."""
