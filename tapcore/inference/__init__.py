"""Inference: fixed points of the TAP and naive mean-field equations."""
