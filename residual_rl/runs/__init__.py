"""The directory of a run: one module writes it, another reads it."""
