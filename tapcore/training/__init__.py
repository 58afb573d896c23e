"""Training: gradients of the TAP log-likelihood and Alg. 2."""
