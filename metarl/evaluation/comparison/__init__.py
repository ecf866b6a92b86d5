"""Comparison of runs: who adapts best on a family, and how sure that is."""
