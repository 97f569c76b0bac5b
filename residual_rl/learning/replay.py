"""The transitions seen so far, episode after episode, and where each episode ends."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from residual_rl.types import Observation, Spec, Transition


class Replay:
    """A ring of transitions. Row numbers count everything ever added; the last `capacity` of them are held.

    An episode's rows are contiguous, and each row knows the number of the last row of its episode.
    """

    def __init__(self, spec: Spec, capacity: int):
        self.capacity = capacity
        self.total = 0
        """Rows ever added."""
        self._rows = _empty(spec, capacity)
        self._episode_end = np.zeros(capacity, dtype=np.int64)

    def __len__(self) -> int:
        return min(self.total, self.capacity)

    def add_episode(self, episode: Transition) -> None:
        """Adds an episode, or an unbroken part of one: `[T]` rows, the oldest overwritten when full.

        Raises:
            ValueError: it is longer than the capacity.
        """
        length = len(episode.reward)
        if length > self.capacity:
            raise ValueError(f"an episode of {length} steps does not fit into a replay of {self.capacity}")
        places = (self.total + np.arange(length)) % self.capacity
        for kept, new in zip(_leaves(self._rows), _leaves(episode), strict=True):
            kept[places] = new
        self._episode_end[places] = self.total + length - 1
        self.total += length

    @contextmanager
    def adding(self, episodes: Sequence[Transition]) -> Iterator[None]:
        """Adds episodes, each `[T]`; if what is then done with them fails, the replay is as it was before."""
        places = (self.total + np.arange(sum(len(episode.reward) for episode in episodes))) % self.capacity
        before = self.total, [leaf[places] for leaf in _leaves(self._rows)], self._episode_end[places]
        for episode in episodes:
            self.add_episode(episode)
        try:
            yield
        except BaseException:
            self.total, rows, self._episode_end[places] = before
            for kept, row in zip(_leaves(self._rows), rows, strict=True):
                kept[places] = row
            raise

    def draw(self, rng: np.random.Generator, size: int, latest: int | None = None) -> np.ndarray:
        """Row numbers `[size]`, uniform over what is held, or over the `latest` rows added.

        Raises:
            ValueError: nothing is held.
        """
        held = len(self) if latest is None else min(latest, len(self))
        if held == 0:
            raise ValueError("the replay is empty")
        return rng.integers(self.total - held, self.total, size)

    def rows(self, numbers: np.ndarray) -> Transition:
        """Copies of these rows: `[B]`."""
        places = numbers % self.capacity
        return _from_leaves(leaf[places] for leaf in _leaves(self._rows))

    def latest_episodes(self, count: int) -> list[np.ndarray]:
        """Row numbers of each of the episodes added last, `count` at most, that are held as a whole: each `[T]`."""
        numbers = np.arange(self.total - len(self), self.total)
        ends = self._episode_end[numbers % self.capacity]
        episodes = np.split(numbers, np.flatnonzero(np.diff(ends)) + 1) if len(numbers) else []
        if self.total > self.capacity:
            episodes = episodes[1:]  # its first rows may be overwritten
        return episodes[-count:]

    def later_achieved_goal(self, rng: np.random.Generator, numbers: np.ndarray) -> np.ndarray:
        """For each row number a goal that was achieved after that step, in the same episode: `[B, G]`."""
        ends = self._episode_end[numbers % self.capacity]
        later = rng.integers(numbers, ends + 1)
        return self._rows.next_observation["achieved_goal"][later % self.capacity]

    def arrays(self) -> dict[str, np.ndarray]:
        """All that is held, by name, as views: what a checkpoint stores."""
        size = len(self)
        named = {f"{index:02d}": leaf[:size] for index, leaf in enumerate(_leaves(self._rows))}
        return named | {"episode_end": self._episode_end[:size], "total": np.array(self.total)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Takes over what `arrays` returned, in a replay of the same spec and capacity."""
        self.total = int(arrays["total"])
        size = len(self)
        self._episode_end[:size] = arrays["episode_end"]
        for index, leaf in enumerate(_leaves(self._rows)):
            leaf[:size] = arrays[f"{index:02d}"]


def _empty(spec: Spec, capacity: int) -> Transition:
    def floats(*shape: int) -> np.ndarray:
        return np.zeros((capacity, *shape), dtype=np.float32)  # untouched pages take no memory

    def observations() -> Observation:
        return Observation(
            observation=floats(spec.observation_size),
            achieved_goal=floats(spec.goal_size),
            desired_goal=floats(spec.goal_size),
        )

    return Transition(
        observation=observations(),
        base_action=floats(spec.action_size),
        residual=floats(spec.action_size),
        action=floats(spec.action_size),
        reward=floats(),
        terminated=np.zeros(capacity, dtype=bool),
        truncated=np.zeros(capacity, dtype=bool),
        discount=floats(),
        next_observation=observations(),
        next_base_action=floats(spec.action_size),
    )


_KEYS = ("observation", "achieved_goal", "desired_goal")


def _leaves(transition: Transition) -> Iterator[np.ndarray]:
    for field in transition:
        if isinstance(field, dict):
            yield from (field[key] for key in _KEYS)
        else:
            yield field


def _from_leaves(leaves: Iterator[np.ndarray]) -> Transition:
    def field(name: str) -> Any:
        if name.endswith("observation"):
            return Observation(observation=next(leaves), achieved_goal=next(leaves), desired_goal=next(leaves))
        return next(leaves)

    return Transition(**{name: field(name) for name in Transition._fields})
