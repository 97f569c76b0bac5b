"""Exported policies: a folder that runs with NumPy alone and can be shared."""
