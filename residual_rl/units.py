"""The units in which a learner sees an observation: about zero on average and about one in spread, in any environment.

Centre and scale are found once, and are applied in double precision, before anything is stored in single precision: a position
of 1e7 that changes by 1e-3 is one number in single precision. The learner's own running normalization (`learning.normalizer`)
follows; it works in single precision, and takes an entry that changes by less than 0.01 for one that does not change.
"""

from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Centre = Annotated[float, Field(ge=-1e39, le=1e39)]  # whatever single precision can hold lies within
Scale = Annotated[float, Field(ge=1e-60, le=1e39)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Units:
    """What is subtracted from the numbers of an observation and of a goal, and what they are divided by then."""

    centre: tuple[Centre, ...]
    """`[O + G]`: the numbers of an observation, then those of a goal."""
    scale: tuple[Scale, ...]
    """`[O + G]`: about the spread of each."""


def units_of(values: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and scale `[K]` of numbers, from some of their values.

    The spread is half of the range in which eight of ten values lie; that of a number that changes more rarely is its standard
    deviation. It is too small rather than too large, if a few values lie far out: what is too large can be normalized later,
    what is too small cannot. A number that does not change by more than its rounding has its own size for a scale, or 1 if it
    is 0. Scales are powers of 2 and centres multiples of them, so that whole numbers and simple fractions stay exact.

    Args:
        values: `[N, K]`
        precision: `[K]`, relative size of the least change of each; 0 for whole numbers.
    """
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9), axis=0)
    size = np.abs(values).max(axis=0)
    least = 2.0 * precision * size
    spread = (high - low) / 2.0
    spread = np.where(spread > least, spread, (values - middle).std(axis=0))
    spread = np.where(spread > least, spread, np.where(size > 0.0, size, 1.0))
    scale = np.exp2(np.round(np.log2(np.clip(spread, 1e-59, 1e38))))
    return np.rint(middle / scale) * scale, scale


def undone(flat: np.ndarray, centre: np.ndarray, scale: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return numbers `[..., K]` in the environment's own units; `whole` `[K]` says which are whole numbers there."""
    own = np.asarray(flat, np.float64) * scale + centre
    return np.where(whole, np.rint(own), own) if whole.any() else own
