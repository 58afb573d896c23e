"""Samples of a machine: Gibbs chains, replica exchange, annealed importance sampling."""
