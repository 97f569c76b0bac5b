"""Record the episodes of a batch: a fingerprint that identifies copies, and a few thinned paths."""

import numpy as np

from residual_rl.types import Observation

MOST_PATHS = 20  # pairs of episodes whose paths are kept
MOST_POINTS = 200  # of a path
MOST_ENTRIES = 256  # of an observation, so that images and features do not fill the memory

_ODD = np.uint64(0x9E3779B97F4A7C15)
_PRIME = np.uint64(0x100000001B3)
_SHIFT = np.uint64(29)


class Log:
    """Record a batch of episodes step by step; a `note` of `evaluation.play`."""

    def __init__(self, lanes: int, horizon: int, paths: int):
        """Record the paths of the first `paths` of the `lanes`."""
        self.fingerprints = np.zeros(lanes, dtype=np.uint64)
        """[L] equal for two episodes with the same observations and rewards, bit for bit."""
        self.starts = np.zeros(lanes, dtype=np.uint64)
        """[L] the same of their initial observations."""
        self._paths = min(paths, lanes)
        self._every = -(-(horizon + 1) // MOST_POINTS)
        self._points: list[np.ndarray] = []
        self._live: list[np.ndarray] = []
        self._step = 0

    def __call__(self, observation: Observation, reward: np.ndarray, live: np.ndarray) -> None:
        """Record the observations after a step, its rewards `[L]`, and whether each episode was running `[L]` bool."""
        arrays = [observation["observation"], observation["achieved_goal"], observation["desired_goal"], reward[:, None]]
        values = np.concatenate(arrays, axis=1).astype(np.float64) + 0.0  # no negative zeros
        words = np.ascontiguousarray(values).view(np.uint64)
        places = np.arange(1, words.shape[1] + 1, dtype=np.uint64) * _ODD
        words = (words ^ (words >> _SHIFT)) * places
        words = (words ^ (words >> _SHIFT)).sum(axis=1, dtype=np.uint64)
        self.fingerprints = np.where(live, (self.fingerprints ^ words) * _PRIME, self.fingerprints)
        if not self._step:
            self.starts = self.fingerprints
        if self._paths and self._step % self._every == 0:
            shown = observation["observation"][: self._paths]
            entries = np.linspace(0, shown.shape[1] - 1, min(shown.shape[1], MOST_ENTRIES)).astype(int)
            self._points.append(np.array(shown[:, entries], dtype=np.float32))
            self._live.append(live[: self._paths].copy())
        self._step += 1

    def path(self, lane: int) -> np.ndarray:
        """Return the path of an episode: `[P, O]`, at most `MOST_POINTS` points evenly in time, the start included."""
        return np.stack([points[lane] for points, live in zip(self._points, self._live, strict=True) if live[lane]])
