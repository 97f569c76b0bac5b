"""What an environment says beside its observation: numbers, flags, success."""

from typing import Any

import numpy as np

SUCCESS_KEYS = ("is_success", "success")


def number(name: str, value: Any) -> float:
    """A number, also where it is an array of one.

    Raises:
        ValueError: it is none.
    """
    try:
        if np.ndim(value):
            (value,) = np.asarray(value).ravel()
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}, not one number") from None


def flag(name: str, value: Any) -> bool:
    """Whether it is so; not where it is None or NaN."""
    return value is not None and number(name, value) > 0.0
