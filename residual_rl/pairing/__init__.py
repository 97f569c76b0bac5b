"""Base and policy side by side: rolled out in turns from the same initial states, and how differently they move."""
