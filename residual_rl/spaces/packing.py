"""What an environment shows, kept as bytes in its own types: an image stays uint8, and nothing is rounded."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np


class Place(NamedTuple):
    """Where an array lies in a row of bytes."""

    path: tuple[str, ...]
    """Its keys, from the outermost dictionary inwards."""
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    stop: int

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return "/".join(self.path) or "observation"


class Packing:
    """Nested arrays as rows of bytes, and back."""

    def __init__(self, entries: Sequence[tuple[tuple[str, ...], tuple[int, ...], str]]):
        """Lay out entries, each a path, a shape and the name of a NumPy type, one after the other."""
        self.places: list[Place] = []
        start = 0
        for path, shape, name in entries:
            stop = start + prod(shape) * np.dtype(name).itemsize
            self.places.append(Place(path, shape, np.dtype(name), start, stop))
            start = stop
        self.width = start
        """Bytes of a row, P."""

    def write(self, shown: Any, rows: np.ndarray) -> None:
        """Write an observation `[*batch, ...]` into rows `[*batch, P]` uint8, or longer ones.

        Raises:
            KeyError, ValueError: it is not what the space says.
        """
        batch = rows.shape[:-1]
        for place in self.places:
            array = np.asarray(at(shown, place.path))
            if array.shape != batch + place.shape:
                raise ValueError(wrong_shape(place.name, array.shape, place.shape, batch))
            if array.dtype != place.dtype:
                array = _as_type(array, place)
            if place.stop > place.start:
                packed = np.ascontiguousarray(array).reshape(*batch, -1).view(np.uint8)
                rows[..., place.start : place.stop] = packed

    def read(self, rows: np.ndarray) -> Any:
        """Return what `write` wrote into rows `[*batch, P]`, or longer ones; arrays of bytes are views of the rows."""
        batch = rows.shape[:-1]
        arrays = {}
        for place in self.places:
            part = rows[..., place.start : place.stop]
            if place.dtype != np.uint8:
                part = np.ascontiguousarray(part).view(place.dtype)
            arrays[place.path] = part.reshape(*batch, *place.shape)
        return nested(arrays)

    def sound(self, rows: np.ndarray) -> np.ndarray:
        """Whether all numbers of a row are finite: `[B, P] -> [B]` bool."""
        sound = np.ones(len(rows), dtype=bool)
        for place in self.places:
            if place.dtype.kind == "f":
                sound &= np.isfinite(self._numbers(rows, place)).all(axis=1)
        return sound

    def unsound_number(self, row: np.ndarray) -> str:
        """Return name and value of the first number of a row `[P]` that is not finite; empty if all are."""
        for place in self.places:
            if place.dtype.kind == "f":
                numbers = self._numbers(row[None], place)[0]
                bad = np.flatnonzero(~np.isfinite(numbers))
                if len(bad):
                    index = ", ".join(str(each) for each in np.unravel_index(int(bad[0]), place.shape)) if place.shape else ""
                    return f"{place.name}{f'[{index}]' if index else ''} is {numbers[bad[0]]:g}"
        return ""

    @staticmethod
    def _numbers(rows: np.ndarray, place: Place) -> np.ndarray:
        return np.ascontiguousarray(rows[:, place.start : place.stop]).view(place.dtype)


def _as_type(array: np.ndarray, place: Place) -> np.ndarray:
    """The array in the type of its space; whole numbers must stay what they are."""
    with np.errstate(invalid="ignore"):
        kept = array.astype(place.dtype)
    if place.dtype.kind != "f" and not np.array_equal(kept, array):
        raise ValueError(f"{place.name!r} holds {array.dtype} numbers that {place.dtype}, of which its space is, cannot hold")
    return kept


def wrong_shape(name: str, has: tuple[int, ...], shape: tuple[int, ...], batch: tuple[int, ...]) -> str:
    """What to say of an array of a wrong shape."""
    several = not batch and len(has) == len(shape) + 1 and has[1:] == shape
    hint = "; for several worlds in one environment, pass its vector wrapper" if several else ""
    return f"{name!r} has shape {has}, its space says {batch + shape}{hint}"


def at(shown: Any, path: tuple[str, ...]) -> Any:
    """Return the array of a nested dictionary that lies at a path."""
    for key in path:
        shown = shown[key]
    return shown


def nested(arrays: Mapping[tuple[str, ...], np.ndarray]) -> Any:
    """Return arrays, by their paths, as nested dictionaries; the array itself if its path is empty."""
    if () in arrays:
        return arrays[()]
    outer: dict[str, Any] = {}
    for path, array in arrays.items():
        inner = outer
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = array
    return outer
