"""User-supplied environments as tasks."""
