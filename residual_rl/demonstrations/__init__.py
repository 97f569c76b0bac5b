"""Demonstrations: recorded episodes, read from and written to the formats in which others keep them."""
