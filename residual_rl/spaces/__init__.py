"""How an environment's own observations and actions lie in the library's arrays."""

from residual_rl.spaces.layout import GOAL_KEYS, LARGEST_BOUND, LARGEST_SIZE, Encoded, Entry, Layout
from residual_rl.spaces.reading import layout_of

__all__ = ["GOAL_KEYS", "LARGEST_BOUND", "LARGEST_SIZE", "Encoded", "Entry", "Layout", "layout_of"]
