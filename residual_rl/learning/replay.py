"""The transitions seen so far, episode after episode, and where each episode begins and ends."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

from residual_rl.learning.serialization import found
from residual_rl.types import Array, Observation, Spec, Transition, row_of


def example_transition(spec: Spec, stored: Mapping[str, Any] | None = None) -> Transition:
    """Return one transition of a task, without a leading axis: zeros of the shapes and dtypes that a replay keeps.

    Args:
        spec: of the task; its arrays are float32.
        stored: shape and dtype of the extra arrays that an algorithm stores, see `Algorithm.stored`.
    """

    def floats(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    def observation() -> Observation:
        return Observation(
            observation=floats(spec.observation_size),
            achieved_goal=floats(spec.goal_size),
            desired_goal=floats(spec.goal_size),
        )

    return Transition(
        observation=observation(),
        base_action=floats(spec.action_size),
        residual=floats(spec.action_size),
        action=floats(spec.action_size),
        reward=floats(),
        terminated=np.zeros((), bool),
        truncated=np.zeros((), bool),
        discount=floats(),
        next_observation=observation(),
        next_base_action=floats(spec.action_size),
        extras={name: np.zeros(one.shape, one.dtype) for name, one in (stored or {}).items()},
    )


class Windows(NamedTuple):
    """Rows that follow each other in one episode."""

    numbers: np.ndarray
    """[B, N] row numbers; beyond the episode's end its last row is repeated."""
    inside: np.ndarray
    """[B, N] bool, whether a row is within the episode."""

    @property
    def last(self) -> np.ndarray:
        """The last row of each window within its episode: `[B]`."""
        return self.numbers[:, -1]


class Replay:
    """A ring of transitions. Row numbers count everything ever added; the last `capacity` of them are held.

    An episode's rows are contiguous, and each row knows the numbers of the first and the last row of its episode.
    """

    def __init__(self, example: Transition, capacity: int):
        """Make room for `capacity` transitions with the keys, shapes and dtypes of the example, which has no leading axis."""
        self.capacity = capacity
        self.total = 0
        """Rows ever added."""
        # Untouched pages of zeros take no memory.
        self._rows = Transition(*(_of_capacity(field, capacity) for field in example))
        self._form = jax.tree.structure(example)
        self._episode_start = np.zeros(capacity, dtype=np.int64)
        self._episode_end = np.zeros(capacity, dtype=np.int64)

    def __len__(self) -> int:
        return min(self.total, self.capacity)

    @property
    def row_bytes(self) -> int:
        """Bytes of a transition."""
        return sum(leaf.itemsize * leaf[0].size for leaf in jax.tree.leaves(self._rows))

    def add_episode(self, episode: Transition) -> None:
        """Add an episode, or an unbroken part of one: `[T]` rows, the oldest overwritten when full.

        Raises:
            ValueError: it is longer than the capacity, or has other keys than the example.
        """
        length = len(episode.reward)
        if length > self.capacity:
            raise ValueError(f"an episode of {length} steps does not fit into a replay of {self.capacity}")
        form = jax.tree.structure(episode)
        if form != self._form:
            raise ValueError(f"an episode has the form {form}, but the replay was made for {self._form}")
        places = (self.total + np.arange(length)) % self.capacity
        for kept, new in zip(jax.tree.leaves(self._rows), jax.tree.leaves(episode), strict=True):
            kept[places] = new
        self._episode_start[places] = self.total
        self._episode_end[places] = self.total + length - 1
        self.total += length

    @contextmanager
    def adding(self, episodes: Sequence[Transition]) -> Iterator[None]:
        """Add episodes, each `[T]`; if the body of the `with` block fails, restore the replay as it was before."""
        places = (self.total + np.arange(sum(len(episode.reward) for episode in episodes))) % self.capacity
        total, before = self.total, [array[places] for array in self._all()]
        for episode in episodes:
            self.add_episode(episode)
        try:
            yield
        except BaseException:
            self.total = total
            for kept, rows in zip(self._all(), before, strict=True):
                kept[places] = rows
            raise

    def draw(self, rng: np.random.Generator, size: int, latest: int | None = None) -> np.ndarray:
        """Return row numbers `[size]`, uniform over what is held, or over the `latest` rows added.

        Raises:
            ValueError: nothing is held.
        """
        held = len(self) if latest is None else min(latest, len(self))
        if held == 0:
            raise ValueError("the replay is empty")
        return rng.integers(self.total - held, self.total, size)

    def rows(self, numbers: np.ndarray) -> Transition:
        """Return copies of these rows: `[B]`."""
        places = numbers % self.capacity
        return Transition(*(row_of(field, places) for field in self._rows))

    def windows(self, numbers: np.ndarray, steps: int) -> Windows:
        """Return for each row number the `steps` rows from it on, within its episode."""
        wanted = numbers[:, None] + np.arange(steps)
        ends = self._episode_end[numbers % self.capacity][:, None]
        return Windows(np.minimum(wanted, ends), wanted <= ends)

    def frames(self, numbers: np.ndarray, key: str, count: int) -> tuple[Array, Array]:
        """Return the last `count` arrays of an observation's key up to each row, and up to what followed: `[B, count, ...]`.

        They do not reach back beyond the start of the episode or the oldest row held: the first one is repeated instead.
        """
        firsts = np.maximum(self._episode_start[numbers % self.capacity], self.total - len(self))
        before = np.maximum(numbers[:, None] + np.arange(1 - count, 1), firsts[:, None])
        frames = self._rows.observation[key][before % self.capacity]  # type: ignore[literal-required]
        latest = self._rows.next_observation[key][numbers % self.capacity]  # type: ignore[literal-required]
        return frames, np.concatenate([frames[:, 1:], latest[:, None]], axis=1)

    def latest_episodes(self, count: int) -> list[np.ndarray]:
        """Return the row numbers of each of the episodes added last, `count` at most, that are held as a whole: each `[T]`."""
        numbers = np.arange(self.total - len(self), self.total)
        ends = self._episode_end[numbers % self.capacity]
        episodes = np.split(numbers, np.flatnonzero(np.diff(ends)) + 1) if len(numbers) else []
        if self.total > self.capacity:
            episodes = episodes[1:]  # its first rows may be overwritten
        return episodes[-count:]

    def later_achieved_goal(self, rng: np.random.Generator, numbers: np.ndarray) -> np.ndarray:
        """Return for each row number a goal that was achieved after that step, in the same episode: `[B, G]`."""
        ends = self._episode_end[numbers % self.capacity]
        later = rng.integers(numbers, ends + 1)
        return self._rows.next_observation["achieved_goal"][later % self.capacity]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all that is held as views, named by their paths in a transition: what a checkpoint stores."""
        size = len(self)
        named = {name: leaf[:size] for name, leaf in _named(self._rows)}
        places = {"episode_start": self._episode_start[:size], "episode_end": self._episode_end[:size]}
        return named | places | {"total": np.array(self.total)}

    def restore(self, arrays: Mapping[str, np.ndarray], source: str = "replay") -> None:
        """Take over what `arrays` returned, in a replay of the same example and capacity.

        Raises:
            RunError: an array is missing or has another shape or dtype; names `source` and the array.
        """
        self.total = int(found(arrays, "total", (), np.dtype(np.int64), source))
        size = len(self)
        places = [("episode_start", self._episode_start), ("episode_end", self._episode_end)]
        for name, kept in [*_named(self._rows), *places]:
            kept[:size] = found(arrays, name, (size, *kept.shape[1:]), kept.dtype, source)

    def _all(self) -> list[np.ndarray]:
        """Return every array with a leading axis `[capacity]`."""
        return [*jax.tree.leaves(self._rows), self._episode_start, self._episode_end]


def _of_capacity(example: Any, capacity: int) -> Any:
    """Return arrays with a leading axis, in the example's dictionaries, whose keys keep their order."""
    if isinstance(example, Mapping):
        return {key: _of_capacity(value, capacity) for key, value in example.items()}
    return np.zeros((capacity, *np.shape(example)), example.dtype)


def _named(rows: Transition) -> list[tuple[str, np.ndarray]]:
    """Return every array with its path, such as `.observation['achieved_goal']`."""
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(rows)]
