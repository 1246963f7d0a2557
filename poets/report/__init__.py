"""What a run leaves to read: logs, results folders, figures."""
