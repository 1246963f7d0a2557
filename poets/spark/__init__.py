"""A DC/OS options file as an application of Spark: its command, its driver, checks."""
