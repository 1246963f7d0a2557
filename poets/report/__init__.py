"""Reads and writes the reports of a run: logs, results folders, metrics, plots."""
