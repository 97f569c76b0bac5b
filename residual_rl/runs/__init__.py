"""The directory of a run: the module that writes it, and the module that reads it."""
