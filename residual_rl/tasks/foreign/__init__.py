"""Environments that somebody brings, as tasks."""
