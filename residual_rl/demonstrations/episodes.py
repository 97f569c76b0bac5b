"""What demonstrations are, whatever the files they come from: episodes of arrays, and a description of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from gymnasium import spaces

from residual_rl.demonstrations.checking import Entries, check_episode, entries_of
from residual_rl.errors import DemonstrationError


@dataclass(frozen=True)
class Demonstration:
    """One episode of T steps."""

    observations: Any
    """An array, or nested dictionaries of arrays, `[T + 1, ...]`: before each step and after the last; `[T, ...]` without the
    latter, as some formats have it."""
    actions: np.ndarray
    """`[T, *A]`, as the environment executed them, in its units."""
    rewards: np.ndarray
    """`[T]`; NaN if they were not recorded."""
    terminations: np.ndarray
    """`[T]` bool"""
    truncations: np.ndarray
    """`[T]` bool"""
    success: bool | None = None
    """None if it was not recorded."""
    seed: int | None = None
    """With which the environment was reset; None if it was not recorded."""

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.actions)


@dataclass(frozen=True)
class About:
    """The description of all episodes."""

    observation_space: spaces.Space
    """Of one observation: a `Box`, or a `Dict` of them."""
    action_space: spaces.Box
    """Its bounds are those of the environment; infinite if the source does not have them."""
    environment: str = ""
    """A task's name or a Gymnasium id; empty if it is unknown."""
    controller: str = ""
    """The name of what acted."""
    rate: float | None = None
    """Steps per second, in Hz."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Units by entry: keys joined by "/"; of the actions under "action"."""
    frames: int = 1
    """How many frames the environment stacks along the channels of an image, the oldest first. One is recorded, the newest."""

    @property
    def entries(self) -> Entries:
        """The arrays of an observation, by their keys joined by "/"; an array without keys is called "observation"."""
        return entries_of(self.observation_space)


class Demonstrations:
    """Episodes that are read when they are asked for, one at a time, and checked then.

    Args:
        about: their description.
        length: their number.
        read: returns the episode of a number.
        source: where they come from, for messages.
    """

    def __init__(self, about: About, length: int, read: Callable[[int], Demonstration], source: str):
        if length == 0:
            raise DemonstrationError(f"{source} holds no episodes")
        self.about = about
        self.source = source
        self._length = length
        self._read = read

    def __len__(self) -> int:
        """Return the number of episodes."""
        return self._length

    def __getitem__(self, number: int) -> Demonstration:
        """Return an episode.

        Raises:
            DemonstrationError: it cannot be read, or it is not what the description says; names the entry and the step.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"{self.source} has {len(self)} episodes, number {number} is not one of them")
        episode = self._read(number)
        check_episode(episode, self.about.entries, self.about.action_space, f"episode {number} of {self.source}")
        return episode

    def __iter__(self) -> Iterator[Demonstration]:
        """Yield all episodes in order."""
        return (self[number] for number in range(len(self)))

    def described(self, **fields: Any) -> "Demonstrations":
        """Return the same episodes with other fields of `About`, such as a rate that the source does not have."""
        return Demonstrations(replace(self.about, **fields), len(self), self._read, self.source)


def from_arrays(episodes: Iterable[Any], **about: Any) -> Demonstrations:
    """Return demonstrations from episodes in memory.

    Args:
        episodes: a `Demonstration` each, or a dictionary with `observations` and `actions`, and perhaps with `rewards`,
            `terminations`, `truncations`, `success` and `seed`.
        **about: fields of `About`. `observation_space` and `action_space` follow from the first episode if they are not given;
            actions then have no bounds.

    Raises:
        DemonstrationError: an episode lacks its observations or actions, or there is none.
    """
    held = [_episode(one, number) for number, one in enumerate(episodes)]
    if not held:
        raise DemonstrationError("there are no episodes")
    first = held[0]
    if "observation_space" not in about:
        about["observation_space"] = _space_of(first.observations)
    if "action_space" not in about:
        shape = np.shape(first.actions)[1:]
        about["action_space"] = spaces.Box(-np.inf, np.inf, shape, np.float32)
    return Demonstrations(About(**about), len(held), held.__getitem__, "the arrays")


def _episode(one: Any, number: int) -> Demonstration:
    if isinstance(one, Demonstration):
        return one
    if not isinstance(one, Mapping):
        raise DemonstrationError(f"episode {number} is a {type(one).__name__}: it must be a Demonstration or a dictionary")
    if missing := {"observations", "actions"} - one.keys():
        raise DemonstrationError(f"episode {number} has no {' and no '.join(sorted(missing))}; its keys are {sorted(one)}")
    return episode_of(**{name: one[name] for name in one if name in Demonstration.__dataclass_fields__})


def episode_of(
    observations: Any,
    actions: Any,
    rewards: Any = None,
    terminations: Any = None,
    truncations: Any = None,
    success: bool | None = None,
    seed: int | None = None,
) -> Demonstration:
    """Return an episode; what is missing is filled in: rewards by NaN, and the end as a truncation."""
    actions = np.asarray(actions)
    steps = len(actions)
    terminations = np.zeros(steps, bool) if terminations is None else np.asarray(terminations, bool)
    if truncations is None:
        truncations = np.zeros(steps, bool)
        truncations[-1:] = not terminations[-1:].any()
    rewards = np.full(steps, np.nan) if rewards is None else np.asarray(rewards, np.float64)
    observations = _as_arrays(observations)
    return Demonstration(observations, actions, rewards, terminations, np.asarray(truncations, bool), success, seed)


def _as_arrays(observations: Any) -> Any:
    if isinstance(observations, Mapping):
        return {str(key): _as_arrays(value) for key, value in observations.items()}
    if isinstance(observations, list | tuple) and observations and isinstance(observations[0], np.ndarray):
        shapes = {one.shape for one in observations}
        if len(shapes) > 1:
            held = np.empty(len(observations), object)  # the check names it
            held[:] = list(observations)
            return held
    return np.asarray(observations)


def _space_of(observations: Any) -> spaces.Space:
    if isinstance(observations, Mapping):
        return spaces.Dict({key: _space_of(value) for key, value in observations.items()})
    array = np.asarray(observations)
    if array.dtype == np.uint8:
        return spaces.Box(0, 255, array.shape[1:], np.uint8)
    dtype = array.dtype if array.dtype.kind == "f" else np.dtype(np.float32)
    shape = np.shape(array[0]) if array.dtype == object and len(array) else array.shape[1:]
    return spaces.Box(-np.inf, np.inf, shape, dtype.type)
