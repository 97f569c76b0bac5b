"""A run, or several, on a page, and what curves are drawn with."""
