"""A policy that predicts chunks of actions, as a controller: rows whose chunk ran out are asked as one batch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from residual_rl.controllers.answers import numbers_in
from residual_rl.controllers.controller import name_of
from residual_rl.errors import ControllerError
from residual_rl.types import row_of, size_of


def chunked(predict_chunk: Callable[[Any], Any], *, execute: int, ensemble: float | None = None) -> "Chunked":
    """Return a controller from a function that predicts several actions ahead, such as LeRobot's `predict_action_chunk`.

    Each parallel episode has a cursor of its own, unlike a queue that all rows share. Episodes whose actions ran out are asked
    together, as one batch.

    Args:
        predict_chunk: from a batch of what the environment shows, `[R, ...]`, to actions `[R, H, *A]` in its units; the first
            is for the present step. It must not be stateful.
        execute: how many actions of a chunk are executed before the next is asked for, at most H.
        ensemble: None to execute the latest chunk. A number m averages all chunks that cover the present step, with weights
            `exp(-m * i)`, where i = 0 is the oldest: temporal ensembling, which needs `execute` less than H.
            Source: Zhao et al. 2023 (ACT), section IV-A, with `execute=1` and m = 0.01.

    Raises:
        ControllerError: an argument is out of range.
    """
    if not (isinstance(execute, int) and execute >= 1):
        raise ControllerError(f"execute must be a whole number of at least 1, not {execute!r}")
    if ensemble is not None and not np.isfinite(ensemble):
        raise ControllerError(f"ensemble must be a finite number or None, not {ensemble!r}")
    return Chunked(predict_chunk, execute, ensemble)


class Chunked:
    """See `chunked`."""

    takes_batch = True
    is_random = False

    def __init__(self, predict_chunk: Callable[[Any], Any], execute: int, ensemble: float | None):
        self.predict_chunk = predict_chunk
        self.execute = execute
        self.ensemble = ensemble
        self.__name__ = name_of(predict_chunk)
        self._steps = np.zeros(0, int)
        self._chunks: np.ndarray | None = None

    def reset(self, mask: np.ndarray) -> None:
        """Start episodes in the lanes `[E]` of the mask: their chunks are forgotten."""
        mask = np.asarray(mask, bool)
        if len(mask) != len(self._steps):
            self._steps, self._chunks = np.zeros(len(mask), int), None
        self._steps[mask] = 0

    def __call__(self, shown: Any) -> np.ndarray:
        """Return one action for each lane: `[E, *A]`.

        Raises:
            ControllerError: the prediction has a wrong shape.
        """
        size = size_of(shown)
        if size != len(self._steps):
            self.reset(np.ones(size, bool))
        if len(empty := np.flatnonzero(self._steps % self.execute == 0)):
            self._ask(shown, empty)
        assert self._chunks is not None
        actions = self._now(self._chunks)
        self._steps += 1
        return actions

    def _ask(self, shown: Any, rows: np.ndarray) -> None:
        """Ask for new chunks of these rows, and keep them in front of the earlier ones: `[E, M, H, *A]`."""
        chunks = np.asarray(numbers_in(self.predict_chunk(row_of(shown, rows)), self.__name__), np.float64)
        if chunks.ndim < 3 or len(chunks) != len(rows) or chunks.shape[1] < self.execute:
            raise ControllerError(
                f"{self.__name__!r} predicted chunks of shape {chunks.shape}: it must be ({len(rows)}, H, ...), H at least "
                f"{self.execute}, which are executed"
            )
        if self._chunks is None or self._chunks.shape[2:] != chunks.shape[1:]:
            covering = 1 if self.ensemble is None else -(-chunks.shape[1] // self.execute)
            self._chunks = np.zeros((len(self._steps), covering, *chunks.shape[1:]))
        self._chunks[rows, 1:] = self._chunks[rows, :-1]
        self._chunks[rows, 0] = chunks

    def _now(self, chunks: np.ndarray) -> np.ndarray:
        """Return the actions of the present step, averaged over the chunks that cover it."""
        lanes, cursor = np.arange(len(self._steps)), self._steps % self.execute
        if self.ensemble is None:
            return chunks[lanes, 0, cursor]
        _, covering, length = chunks.shape[:3]
        age = np.arange(covering)
        places = cursor[:, None] + self.execute * age
        covers = (places < length) & (age <= (self._steps // self.execute)[:, None])
        oldest = covers.sum(axis=1, keepdims=True) - 1
        weights = np.where(covers, np.exp(-self.ensemble * (oldest - age)), 0.0)
        weights /= weights.sum(axis=1, keepdims=True)
        values = chunks[lanes[:, None], age, np.minimum(places, length - 1)]
        return np.einsum("em,em...->e...", weights, values)
