"""A controller that is a table: it repeats the action that was recorded in the nearest state."""

import hashlib
from collections.abc import Callable, Iterable
from copy import copy
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Self, get_args
from zipfile import ZipFile

import numpy as np
import scipy

from residual_rl.errors import ControllerError
from residual_rl.types import Observation, Spec, Transition

SUFFIX = ".npz"
FILE = "table.npz"
NAME = "table-"  # what a table's name begins with
MAX_BYTES = (1 << 28) + (1 << 12)  # of a table, and of its file unpacked: a small file can hold as many zeros as it likes


Distance = Literal["raw", "scaled"]
"""How near two states are: the Euclidean distance of the observations as they are, as published; or with each entry divided by
its deviation over the table."""


class TableController:
    """Proposes the action recorded in the nearest state: one neighbour, Euclidean distance on the observation as it is.

    Nothing is scaled, so an entry with a wide range counts more than one with a narrow range, unless the distance is "scaled".
    The goal is not used.

    Source: Silver et al. 2018, section V-B5, where 500 rows of a planner (PETS, Chua et al. 2018) make the base of MBRLPusher.
    That table is not included: `from_rollouts` makes one from any recorded episodes.

    Args:
        states: `[N, O]` observations.
        actions: `[N, A]` the actions taken there, in units where the bounds are -1 and 1, or, in a user-supplied environment,
            in its units; may lie beyond the bounds.
        distance: see `Distance`.

    Raises:
        ControllerError: they do not make a table.
    """

    reads_goal = False
    kind: str = "table"

    def __init__(self, states: np.ndarray, actions: np.ndarray, distance: Distance = "raw"):
        if distance not in get_args(Distance):
            raise ControllerError(f"the distance of a table is {' or '.join(map(repr, get_args(Distance)))}, not {distance!r}")
        self.distance: Distance = distance
        self.states, self.actions = (_numbers(name, array) for name, array in (("states", states), ("actions", actions)))
        if len(self.states) != len(self.actions):
            raise ControllerError(f"a table needs one action for each state; it has {len(self.states)} and {len(self.actions)}")
        _check_size(self.states.nbytes + self.actions.nbytes, "it")
        deviation = self.states.std(axis=0)
        self._size = np.where((distance == "raw") | (deviation == 0.0), 1.0, deviation)
        self._tree = scipy.spatial.KDTree(self.states / self._size)
        self._proposals = self.actions
        self._raw: Callable[[Observation], Observation] = lambda observation: observation

    @property
    def __name__(self) -> str:
        """A name that depends on the contents, not on the file's place."""
        return f"{NAME}{self.digest[:12]}"

    @property
    def digest(self) -> str:
        """Return the SHA-256 of shapes and numbers."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        hasher = hashlib.sha256()
        for array in (self.states, self.actions):
            hasher.update(repr(array.shape).encode() + array.tobytes())
        if self.distance != "raw":
            hasher.update(self.distance.encode())
        return hasher.hexdigest()

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return itself: nothing changes it."""
        return self

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> base_action [B, A]`."""
        _, nearest = self._tree.query(self._raw(observation)["observation"] / self._size)
        return self._proposals[nearest]

    def in_units(
        self, to_unit: Callable[[np.ndarray], np.ndarray], raw: Callable[[Observation], Observation] = lambda shown: shown
    ) -> Self:
        """Return the same table in an environment's units.

        Args:
            to_unit: actions in which the bounds are -1 and 1, from the environment's.
            raw: the environment's observations, from those of the library.
        """
        table = copy(self)
        table._proposals, table._raw = to_unit(self.actions), raw
        return table

    @classmethod
    def from_rollouts(cls, rollouts: Iterable[Transition], rows: int | None = None) -> "TableController":
        """Return a table of recorded episodes `[T]`: every observation and the action that was executed there.

        Args:
            rollouts: as `rollout.collect` gives them, in `Episode.transitions`.
            rows: use only this many steps, the first ones; the paper used 500.

        Raises:
            ControllerError: there are fewer steps than that, or none.
        """
        rollouts = list(rollouts)
        if not rollouts:
            raise ControllerError("a table needs at least one episode")
        states = np.concatenate([rollout.observation["observation"] for rollout in rollouts])
        actions = np.concatenate([rollout.action for rollout in rollouts])
        if rows is not None and len(states) < rows:
            raise ControllerError(f"{rows} rows were requested, but the episodes have only {len(states)} steps")
        return cls(states[:rows], actions[:rows])

    def save(self, path: str | Path) -> None:
        """Write `states` and `actions` as a NumPy archive: `path`, or `table.npz` in it if it is a directory."""
        with _file(path).open("wb") as file:
            np.savez_compressed(file, states=self.states, actions=self.actions, distance=np.array(self.distance))

    @classmethod
    def load(cls, path: str | Path, spec: Spec | None = None) -> "TableController":
        """Return the table in a NumPy archive. Nothing in the file is executed.

        Args:
            path: the file, or a directory with a `table.npz`.
            spec: of the task that it is for, to be checked.

        Raises:
            ControllerError: there is no such file, it is damaged, it holds no table, or one for another task.
        """
        path = _file(path)
        if not path.is_file():
            raise ControllerError(f"there is no table at {str(path)!r}")
        try:
            content = BytesIO(path.read_bytes())
            with ZipFile(content) as files:
                _check_size(sum(entry.file_size for entry in files.infolist()), path)
            content.seek(0)
            with np.load(content, allow_pickle=False) as archive:
                states, actions = archive["states"], archive["actions"]
                distance: Any = str(archive["distance"]) if "distance" in archive else "raw"
        except ControllerError:
            raise
        except KeyError as error:
            raise ControllerError(f"{path} holds no table: it needs the arrays 'states' and 'actions'") from error
        except Exception as error:  # zlib, zipfile, struct and NumPy each have their own way to say that bytes are wrong
            raise ControllerError(f"{path} is damaged, or is no NumPy archive of plain numbers: {error}") from error
        try:
            table = cls(states, actions, distance)
        except ControllerError as error:
            raise ControllerError(f"{path}: {error}") from None
        sizes = table.states.shape[1], table.actions.shape[1]
        if spec is not None and sizes != (spec.observation_size, spec.action_size):
            raise ControllerError(
                f"{path} is for another task: its states have {sizes[0]} numbers and its actions {sizes[1]}, but"
                f" {spec.observation_size} and {spec.action_size} are needed"
            )
        return table


def _file(path: str | Path) -> Path:
    return Path(path) / FILE if Path(path).is_dir() else Path(path)


def _check_size(size: int, name: object) -> None:
    if size > MAX_BYTES:
        raise ControllerError(f"a table may have {MAX_BYTES} bytes, and {name} has {size}")


def _numbers(name: str, array: np.ndarray) -> np.ndarray:
    """Return a copy `[N, ...]` in double precision.

    Raises:
        ControllerError: it is no table of finite numbers.
    """
    if array.ndim != 2 or not array.size:
        raise ControllerError(f"{name} must be a table [N, ...] with at least one row and column, not of shape {array.shape}")
    if not np.issubdtype(array.dtype, np.floating) and not np.issubdtype(array.dtype, np.integer):
        raise ControllerError(f"{name} must be real numbers, not {array.dtype}")
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ControllerError(f"{name} must be finite, but row {row} holds {array[row, column]} in column {column}")
    return np.array(array, dtype=np.float64)
