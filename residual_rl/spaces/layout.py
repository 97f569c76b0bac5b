"""Convert between an environment's observations and actions and the library's arrays."""

import math
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import Annotated, Any, Self

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from residual_rl.errors import ControllerError
from residual_rl.spaces.packing import Packing, at, nested, wrong_shape
from residual_rl.types import Observation, map_observation
from residual_rl.units import Units, undone

GOAL_KEYS = ("observation", "achieved_goal", "desired_goal")
LARGEST_BOUND = 1e6  # of an action; larger bounds count as none
LARGEST_SIZE = 1 << 24  # of an observation
Bound = Annotated[float, Field(ge=-LARGEST_BOUND, le=LARGEST_BOUND)]
Shape = tuple[Annotated[int, Field(ge=0, le=LARGEST_SIZE)], ...]


def _numbers(dtype: str) -> str:
    try:
        sound = np.dtype(dtype).kind in "fiub"
    except TypeError:
        sound = False
    if not sound:
        raise ValueError(f"{dtype!r} is no type of numbers")
    return dtype


Numbers = Annotated[str, AfterValidator(_numbers)]
"""Name of a NumPy type."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Entry:
    """One array of an observation."""

    path: tuple[str, ...]
    """Its keys, from the outermost dictionary inwards."""
    shape: Shape
    dtype: Numbers

    @property
    def size(self) -> int:
        """The number of its values."""
        return math.prod(self.shape)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Encoded:
    """What an environment shows, if an encoder makes the observation of it."""

    shown: tuple[Entry, ...]
    """Without goals, which stay as they are."""
    encoder: str
    """Its name."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Layout:
    """The entries of an observation, in the order in which they are joined, and the form of an action.

    In the library an observation is an `Observation` of flat float64 arrays, centred and scaled if there are units, and actions
    lie in [-1, 1]. An environment and its controller never see either: with units, an observation keeps the environment's
    numbers in its `state`, for the controller.
    """

    observation: tuple[Entry, ...]
    goal: tuple[Entry, ...]
    """Entries of the achieved and of the desired goal, paths without that key; empty for an environment without goals."""
    action_shape: Shape
    action_dtype: Numbers
    low: tuple[Bound, ...]
    high: tuple[Bound, ...]
    units: Units | None = None
    """None: observations are used as the environment shows them."""
    encoded: Encoded | None = None
    """What the environment shows, if `observation` is the features that an encoder makes of it."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not 1 <= self.width <= LARGEST_SIZE:
            raise ValueError(f"an observation must have 1 to {LARGEST_SIZE} numbers, not {self.width}")
        if not 1 <= math.prod(self.action_shape) == len(self.low) == len(self.high):
            raise ValueError("an action must have as many bounds as entries, and one at least")
        if any(low >= high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("the bounds of an action must leave a choice")
        if self.units is not None:
            numbers = self.observation_size + self.goal_size
            if not len(self.units.centre) == len(self.units.scale) == numbers:
                raise ValueError(f"units must be of {numbers} numbers: those of an observation and of a goal")
        return self

    @cached_property
    def observation_size(self) -> int:
        """Width of an observation."""
        return sum(entry.size for entry in self.observation)

    @cached_property
    def goal_size(self) -> int:
        """Width of a goal."""
        return sum(entry.size for entry in self.goal)

    @cached_property
    def precision(self) -> np.ndarray:
        """Relative rounding of each number of an observation and of a goal, 0 for whole numbers: `[O + G]`."""
        entries = [(np.dtype(entry.dtype), entry.size) for entry in (*self.observation, *self.goal)]
        each = [np.full(size, np.finfo(dtype).eps if dtype.kind == "f" else 0.0) for dtype, size in entries]
        return np.concatenate(each)

    @cached_property
    def width(self) -> int:
        """Width of an observation and both goals."""
        return self.observation_size + 2 * self.goal_size

    @property
    def action_size(self) -> int:
        """Entries of an action."""
        return len(self.low)

    def flatten(self, shown: Any, batch: tuple[int, ...] = ()) -> Observation:
        """Return an environment's observation as arrays `[*batch, O]` and `[*batch, G]`.

        Raises:
            KeyError, ValueError: it does not fit the space.
        """
        return self.split(self.rows(shown, batch))

    def rows(self, shown: Any, batch: tuple[int, ...] = ()) -> np.ndarray:
        """What an environment shows, as rows `[*batch, R]`, see `write`.

        Raises:
            KeyError, ValueError: it does not fit the space.
        """
        rows = np.empty((*batch, self.row_size), self.row_type)
        self.write(shown, rows)
        return rows

    @cached_property
    def row_size(self) -> int:
        """R, the size of a row: `width` numbers, or the bytes of what an encoder will see."""
        return self.width if self.encoded is None else self.packing.width

    @property
    def row_type(self) -> type[np.generic]:
        """Of the entries of a row."""
        return np.float64 if self.encoded is None else np.uint8

    def write(self, shown: Any, rows: np.ndarray) -> None:
        """Write an environment's observation into rows `[*batch, O + 2 G]`, or longer: the observation, both goals.

        If there is an encoder, the rows are bytes in the environment's own types: `[*batch, P]`, or longer.

        Raises:
            KeyError, ValueError: it does not fit the observation space.
        """
        if self.encoded is not None:
            self.packing.write(shown, rows)
            return
        batch = rows.shape[:-1]
        for path, shape, start, stop, whole in self._places:
            array = np.asarray(at(shown, path))
            if array.shape != batch + shape:
                raise ValueError(wrong_shape("/".join(path) or "observation", array.shape, shape, batch))
            if whole and array.dtype.kind not in "iub" and (fractions := np.isfinite(array) & (array != np.floor(array))).any():
                name = "/".join(path) or "observation"
                raise ValueError(f"{name!r} holds {array[fractions].flat[0]}, its space says whole numbers")
            rows[..., start:stop] = array if array.ndim == rows.ndim else array.reshape(*batch, stop - start)

    def split(self, rows: np.ndarray) -> Observation:
        """The observation that lies in rows `[*batch, O + 2 G]`, or more, of the environment's own numbers, or features."""
        if self._columns is None:
            return self._split(rows)
        rows = rows[..., : self.width]
        centre, scale, _ = self._columns
        with np.errstate(over="ignore", invalid="ignore"):  # the caller checks that values are finite
            observation = self._split((rows - centre) / scale)
        observation["state"] = rows
        return observation

    def _split(self, rows: np.ndarray) -> Observation:
        goal = self.observation_size + self.goal_size
        return Observation(
            observation=rows[..., : self.observation_size],
            achieved_goal=rows[..., self.observation_size : goal],
            desired_goal=rows[..., goal : self.width],
        )

    def raw(self, observation: Observation) -> Observation:
        """Return the observation `[..., O]` and goals `[..., G]` in the environment's units.

        They are exact if it still has its `state`, else up to rounding, as after the replay's single precision.
        """
        if "state" in observation:
            return self._split(observation["state"])
        if self._columns is None:
            return observation
        return map_observation(lambda flat, columns: undone(flat, *columns), observation, self._parts_of_columns)

    def unflatten(self, observation: Observation) -> Any:
        """The inverse of `flatten`: what the environment showed, with a leading axis `[B]`.

        Raises:
            ControllerError: there is an encoder, and what the environment showed was not kept.
        """
        if self.encoded is not None:
            if "shown" not in observation:
                raise ControllerError(
                    "what the environment showed is not kept, only its features: the base cannot be re-queried"
                )
            return self.packing.read(observation["shown"])
        observation = self.raw(observation)
        if not self.goal:
            return _parted(observation["observation"], self.observation)
        parts = zip(GOAL_KEYS, (self.observation, self.goal, self.goal), strict=True)
        return {key: _parted(observation[key], entries) for key, entries in parts}

    def goals(self, flat: np.ndarray) -> Any:
        """Return goals `[B, G]` in the environment's form."""
        if self._columns is not None:
            flat = undone(flat, *self._parts_of_columns["desired_goal"])
        return _parted(flat, self.goal)

    def name_of(self, column: int) -> str:
        """What to call a number of a row `[O + 2 G]` in messages: its keys, and its place if there is more than one."""
        if self.encoded is not None and column < self.observation_size:
            return f"features[{column}] of encoder {self.encoded.encoder!r}"
        path, shape, start, _, _ = next(place for place in self._places if place[2] <= column < place[3])
        index = ", ".join(str(each) for each in np.unravel_index(column - start, shape)) if shape else ""
        return ("/".join(path) or "observation") + (f"[{index}]" if index else "")

    def is_single(self, shown: Any) -> bool:
        """Whether this is one observation, not a batch."""
        entry = self.of_environment.observation[0]
        path = ("observation", *entry.path) if self.goal else entry.path
        return np.ndim(at(shown, path)) == len(entry.shape)

    @cached_property
    def of_environment(self) -> "Layout":
        """The layout that the environment's spaces have, without units and without an encoder."""
        observation = self.observation if self.encoded is None else self.encoded.shown
        return replace(self, observation=observation, units=None, encoded=None)

    @cached_property
    def of_features(self) -> "Layout":
        """The layout of an environment that would show what the encoder makes of this one's observations."""
        return self if self.encoded is None else replace(self, encoded=None)

    @cached_property
    def packing(self) -> Packing:
        """How what the environment shows is kept as bytes, goals included."""
        seen = self.of_environment
        parts = (
            zip(GOAL_KEYS, (seen.observation, self.goal, self.goal), strict=True) if self.goal else [(None, seen.observation)]
        )
        return Packing(
            [
                (entry.path if key is None else (key, *entry.path), entry.shape, entry.dtype)
                for key, entries in parts
                for entry in entries
            ]
        )

    def to_world(self, action: np.ndarray) -> np.ndarray:
        """Convert actions `[..., A]` in [-1, 1] to the environment's own units, type and shape."""
        low, high, _, _ = self._bounds
        own = self._as_it_was(self.from_unit(action))
        own = np.minimum(np.maximum(own, low), high)  # `clip` takes twice as long on small arrays
        return own.astype(self.action_dtype).reshape(*action.shape[:-1], *self.action_shape)

    def _as_it_was(self, own: np.ndarray) -> np.ndarray:
        """Return actions `[..., A]` without the rounding error, some 1e-16, of the conversion to [-1, 1] and back.

        Actions that are 0, or that float32 can hold, are restored exactly: a motor that is on above 0 is off at 0.
        """
        slack = self._rounding
        with np.errstate(over="ignore"):
            short = np.where(np.abs(own) <= slack, 0.0, own.astype(np.float32))
        return np.where(np.abs(own - short) <= slack, short, own)

    def from_unit(self, action: np.ndarray) -> np.ndarray:
        """Convert actions `[..., A]` from units where the bounds are -1 and 1 to the environment's own."""
        _, _, middle, half = self._bounds
        return middle + half * action

    def to_unit(self, own: np.ndarray) -> np.ndarray:
        """Convert actions `[B, A]` from the environment's own units to those where the bounds are -1 and 1."""
        _, _, middle, half = self._bounds
        return (own - middle) / half

    @cached_property
    def _bounds(self) -> tuple[np.ndarray, ...]:
        """Lower and upper bounds, middle, and half of the width: each `[A]`."""
        low, high = np.array(self.low), np.array(self.high)
        return low, high, (low + high) / 2, (high - low) / 2

    @cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Centre, scale, and whether it is whole numbers, of each number of a row: `[O + 2 G]`. None without units."""
        if self.units is None:
            return None
        goal = np.s_[self.observation_size :]
        centre, scale = (np.array(values, np.float64) for values in (self.units.centre, self.units.scale))
        whole = np.concatenate([np.full(stop - start, whole) for _, _, start, stop, whole in self._places])
        return np.concatenate([centre, centre[goal]]), np.concatenate([scale, scale[goal]]), whole

    @cached_property
    def _parts_of_columns(self) -> Any:
        """The same for an observation and both goals."""
        assert self._columns is not None
        parts = [self._split(column) for column in self._columns]
        return {key: tuple(part[key] for part in parts) for key in GOAL_KEYS}

    @cached_property
    def _rounding(self) -> np.ndarray:
        """The largest possible error of `from_unit(to_unit(...))`: `[A]`."""
        low, high, _, half = self._bounds
        return 4 * np.finfo(np.float64).eps * np.maximum(np.maximum(np.abs(low), np.abs(high)), half)

    @cached_property
    def _places(self) -> list[tuple[tuple[str, ...], tuple[int, ...], int, int, bool]]:
        """Path and shape of each array of an observation, its begin and end in a row, whether it holds whole numbers."""
        entries = [(entry.path, entry) for entry in self.observation]
        if self.goal:
            parts = zip(GOAL_KEYS, (self.observation, self.goal, self.goal), strict=True)
            entries = [((key, *entry.path), entry) for key, inside in parts for entry in inside]
        ends = list(accumulate(entry.size for _, entry in entries))
        return [
            (path, entry.shape, end - entry.size, end, np.dtype(entry.dtype).kind in "iub")
            for (path, entry), end in zip(entries, ends, strict=True)
        ]


def _parted(flat: np.ndarray, entries: tuple[Entry, ...]) -> Any:
    arrays, start = {}, 0
    for entry in entries:
        part = np.asarray(flat[..., start : start + entry.size])
        arrays[entry.path] = part.astype(entry.dtype).reshape(*flat.shape[:-1], *entry.shape)
        start += entry.size
    return nested(arrays)
