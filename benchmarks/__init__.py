"""Measures the retraining job against the original method and the machine's limit."""
