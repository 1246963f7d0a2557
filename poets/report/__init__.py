"""Writes and reads the reports of a run: pages, results folders, metrics, logs."""

REPORT = "report.html"
"""The page on a run, beside its graph."""
