"""What tools/benchmark.py measures with. Nothing here is imported with the package."""
