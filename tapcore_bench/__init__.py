"""Benchmarks and experiments: `micro` times kernels, `paper` repeats experiments of the paper."""
