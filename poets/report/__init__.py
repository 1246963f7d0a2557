"""Writes and reads the reports of a run: pages, results folders, metrics, logs."""

METRICS, SPLIT, SKIPPED = "metrics.json", "split.csv", "skipped_images.csv"
"""The files of a run, beside its graph."""

REPORT = "report.html"
"""The page on a run, beside its graph."""
