"""Relaxed belief propagation."""
