"""Comparisons with a base: of a run's policy, finished or not, and of any two controllers."""
