"""Experiments of the paper, run apart from the tests."""
