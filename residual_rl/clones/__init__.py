"""Cloned bases: networks that learned from demonstrations, of vectors or of a camera image."""
