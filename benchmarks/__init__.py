"""Comparisons of speed and memory, each of things that compute the same. `make bench` runs them; none is a test."""
