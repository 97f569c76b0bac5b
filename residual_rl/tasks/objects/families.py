"""Families of shapes. Each member is drawn with its own random generator."""

import zlib
from collections.abc import Callable

import numpy as np

from residual_rl.tasks.objects.shapes import Part, Shape, normalized

Family = Callable[[np.random.Generator], list[Part]]
"""The parts of one member, in any unit."""
Families = dict[str, tuple[Family, int]]
"""By name, with the number of members."""


def draw(families: Families) -> tuple[Shape, ...]:
    """Draw the members of each family. Adding or changing a family does not change the others."""
    return tuple(
        normalized(f"{name} {member + 1}" if number > 1 else name, family(_generator(name, member)))
        for name, (family, number) in families.items()
        for member in range(number)
    )


def _generator(name: str, member: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(name.encode()), member])
