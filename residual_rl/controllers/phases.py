"""What hand-written controllers for the Fetch arm share: the fingers' commands, and a choice among phases."""

from collections.abc import Sequence

import numpy as np

OPEN, HOLD, CLOSE = 1.0, 0.0, -1.0  # the fingers' command

Phase = tuple[np.ndarray, np.ndarray, float]
"""Where it holds `[B]` bool, the move that it makes `[B, 3]`, and the fingers' command."""


def first_that_holds(phases: Sequence[Phase]) -> np.ndarray:
    """In each row the base action of the first phase that holds there: `[B, 4]`. The last one should hold everywhere."""
    conditions = [holds for holds, _, _ in phases]
    moves = np.select([holds[:, None] for holds in conditions], [move for _, move, _ in phases])
    return np.column_stack([moves, np.select(conditions, [command for _, _, command in phases])])


def squared_length(vector: np.ndarray) -> np.ndarray:
    """`[B, N] -> [B]`."""
    return np.einsum("bn,bn->b", vector, vector)
