"""The latest observations as the learner's input, if one does not show everything, such as a velocity.

An algorithm says how many it sees (`Algorithm.history`). In acting `History` joins them, in learning the replay, which keeps
each once. An episode begins with its first observation repeated. The base sees the present one only.
"""

import numpy as np

from residual_rl.learning.replay import Replay
from residual_rl.types import Array, Observation, Spec, Transition


def seen(spec: Spec, history: int) -> Spec:
    """Return the spec of what the learner sees."""
    return spec._replace(observation_size=spec.observation_size * history)


class History:
    """Join each lane's latest observations, the present one last: `observation["observation"]` `[B, O] -> [B, length O]`."""

    def __init__(self, length: int):
        self.length = length
        self._before: list[Array] = []

    def start(self) -> None:
        """Drop what was seen: an episode starts."""
        self._before = []

    def __call__(self, observation: Observation) -> Observation:
        """Return what the learner sees, and keep this observation for the next steps.

        Raises:
            ValueError: the previous step had another number of episodes.
        """
        if self.length == 1:
            return observation
        now = observation["observation"]
        before = self._before or [now] * (self.length - 1)
        if before[-1].shape != now.shape:
            raise ValueError(
                f"with a history steps follow each other: {len(before[-1])} episodes were under way, now there are {len(now)}; "
                f"call reset({len(now)}) when episodes start"
            )
        self._before = [*before[1:], now.copy()]
        return Observation(**{**observation, "observation": np.concatenate([*before, now], axis=-1)})


def with_history(batch: Transition, replay: Replay, numbers: np.ndarray, lasts: np.ndarray, length: int) -> Transition:
    """Return transitions `[B]` with the latest observations joined, as `History` does in acting.

    Args:
        batch: rows `numbers` `[B]` of the replay.
        replay: their source.
        numbers: row numbers `[B]`.
        lasts: the rows `[B]` after which the next observations are; the same rows, unless returns are over several steps.
        length: how many observations.
    """
    if length == 1:
        return batch
    now, _ = replay.frames(numbers, "observation", length)
    _, after = replay.frames(lasts, "observation", length)
    size = len(numbers)
    return batch._replace(
        observation=Observation(**{**batch.observation, "observation": now.reshape(size, -1)}),
        next_observation=Observation(**{**batch.next_observation, "observation": after.reshape(size, -1)}),
    )
