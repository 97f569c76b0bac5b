"""A policy on its way to a robot or to other people: written as a folder, run with NumPy alone, shared."""
