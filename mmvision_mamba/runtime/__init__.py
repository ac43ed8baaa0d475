"""Run exported files, without the model that they were exported from."""
