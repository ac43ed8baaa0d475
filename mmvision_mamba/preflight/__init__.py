"""Checks before anything is built: read the config, check its keys, find custom data, compare data and model."""
