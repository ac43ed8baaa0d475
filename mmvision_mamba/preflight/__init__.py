"""Checks before anything is built: read the config, check its keys, find custom data, compare data and model."""
import mmengine  # noqa: F401 - first: registering with it imports rooms that need modules of this one whole
