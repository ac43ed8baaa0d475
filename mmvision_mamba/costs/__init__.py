"""Costs of a model: parameters, FLOPs, bytes of memory."""
