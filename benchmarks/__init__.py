"""Measures the retraining job against the original way and the machine's limit."""
