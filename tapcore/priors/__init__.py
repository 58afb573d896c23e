"""Machines as priors of noisy data, and what they are held against."""
