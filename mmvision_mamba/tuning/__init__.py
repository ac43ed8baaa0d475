"""Hyperparameter search: trainings of one config with other settings, by optuna, and the best of them as a config."""
