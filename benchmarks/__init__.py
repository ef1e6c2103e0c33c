"""Comparisons of speed and memory, each of things that compute the same: `make bench`.
None is a test.
"""
