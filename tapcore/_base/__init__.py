"""The ground: compilation, threads, checks and what else knows nothing of machines."""
