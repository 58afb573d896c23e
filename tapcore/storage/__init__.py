"""Files: machines, runs and data sets."""
