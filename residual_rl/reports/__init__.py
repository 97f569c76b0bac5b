"""A run on a page, and what its curves are drawn with."""
