"""Shared parts of the hand-written controllers for the Fetch arm: the fingers' commands, and a choice among phases."""

from collections.abc import Sequence

import numpy as np

OPEN, HOLD, CLOSE = 1.0, 0.0, -1.0  # the fingers' command

Phase = tuple[np.ndarray, np.ndarray, float]
"""A condition `[B]` bool, the move `[B, 3]` if it holds, and the fingers' command."""


def first_that_holds(phases: Sequence[Phase]) -> np.ndarray:
    """Return for each row the base action of the first phase that holds: `[B, 4]`. The last one should always hold."""
    conditions = [holds for holds, _, _ in phases]
    moves = np.select([holds[:, None] for holds in conditions], [move for _, move, _ in phases])
    return np.column_stack([moves, np.select(conditions, [command for _, _, command in phases])])


def squared_length(vector: np.ndarray) -> np.ndarray:
    """`[B, N] -> [B]`."""
    return np.einsum("bn,bn->b", vector, vector)
