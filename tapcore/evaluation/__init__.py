"""Scores: likelihoods by TAP, by enumeration, by annealed importance sampling."""
