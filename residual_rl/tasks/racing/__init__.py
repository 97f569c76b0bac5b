"""Racing with a 1:10 car: no simulator but NumPy, and tracks that training never shows."""
