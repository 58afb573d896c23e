"""Naive mean field, TAP and third order by sweeps."""
