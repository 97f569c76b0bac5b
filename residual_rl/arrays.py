"""Named arrays as safetensors files, and a digest that tells whether they are what was saved."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from residual_rl.disk import write_whole
from residual_rl.errors import RunError


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes arrays and what is said of them, whole or not at all.

    Raises:
        RunError: the file cannot be written; what was there before is still there.
    """
    contiguous = {key: np.asarray(value, order="C") for key, value in arrays.items()}
    # `save_file` makes files that nobody else may read.
    write_whole(path, lambda beside: beside.write_bytes(save(contiguous, metadata)))


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a safetensors file.

    Raises:
        RunError: it is truncated or is no such file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError, ValueError, AttributeError, TypeError) as error:  # the last two: no type of NumPy's
        raise RunError(f"{path} is damaged: {error}") from error


def digest(arrays: Mapping[str, np.ndarray], said: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes and values, and over what is said of them as JSON."""
    hasher = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        hasher.update(f"{name} {array.dtype.str} {array.shape};".encode())
        hasher.update(array.tobytes())
    return hasher.hexdigest()
