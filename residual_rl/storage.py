"""Read and atomically write files: JSON, safetensors with a digest, and records (pydantic dataclasses)."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

import numpy as np
from filelock import AcquireReturnProxy, BaseFileLock, Timeout
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from residual_rl.errors import RunError

PARTIAL = ".partial"  # suffix of a hidden file that is being written, or whose process was killed
Record = TypeVar("Record")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file atomically: write a temporary file in the same directory, then rename it.

    Args:
        path: the file. Its directory is created if necessary.
        write: a function that writes to the temporary path that it receives.

    Raises:
        RunError: the file cannot be written; an earlier file is unchanged.
    """
    beside = path.with_name(f".{path.name}.{token_hex(4)}{PARTIAL}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch()  # fail now, not after a thousand frames
        try:
            write(beside)
            with beside.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Round the numbers of a table's row to eight significant digits; returns can have any magnitude."""
    return {name: float(f"{value:.8g}") if isinstance(value, float) else value for name, value in row.items()}


def write_json(path: Path, values: Any) -> None:
    """Write plain JSON values atomically.

    Raises:
        RunError: the file cannot be written; an earlier file is unchanged.
    """
    write_whole(path, lambda beside: beside.write_text(json.dumps(values, indent=2) + "\n"))


def read_json(path: Path, otherwise: str = "") -> Any:
    """Read the JSON values of a file.

    Args:
        path: the file.
        otherwise: what a missing file means, for the message.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"there is no {path}" + (f": {otherwise}" if otherwise else "")) from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}") from error


def acquire(lock: BaseFileLock, path: Path) -> AcquireReturnProxy:
    """Take the lock of a directory, without waiting. The result is a context manager that releases it.

    Raises:
        RunError: another process holds the lock, or the lock file cannot be written.
    """
    with disk_errors(path):
        try:
            return lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{path} is in use by another process") from None


def make_directory(path: Path) -> None:
    """Create a directory if it does not exist.

    Raises:
        RunError: it cannot be created.
    """
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Convert an operating system error while `path` is written into a RunError that names `path`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot write to {path}: {error}. What was saved before is intact") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write arrays and their metadata atomically.

    Raises:
        RunError: the file cannot be written; an earlier file is unchanged.
    """
    contiguous = {key: np.asarray(value, order="C") for key, value in arrays.items()}
    # `save_file` creates files that other users cannot read.
    write_whole(path, lambda beside: beside.write_bytes(save(contiguous, metadata)))


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read arrays and metadata of a safetensors file.

    Raises:
        RunError: the file is damaged or not a safetensors file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError, ValueError, AttributeError, TypeError) as error:  # the last two: a type that NumPy lacks
        raise RunError(f"{path} is damaged: {error}") from error


def digest(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> str:
    """Return the SHA-256 of names, types, shapes and values of arrays, and of their metadata as JSON."""
    hasher = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        hasher.update(f"{name} {array.dtype.str} {array.shape};".encode())
        hasher.update(array.tobytes())
    return hasher.hexdigest()


def to_json(record: Any) -> Any:
    """Convert a record to plain JSON values."""
    return TypeAdapter(type(record)).dump_python(record, mode="json")


def record_of(kind: type[Record], values: Any, source: object) -> Record:
    """Restore a record from the values of `to_json`.

    Raises:
        RunError: the values are invalid; the message names `source`.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise RunError(f"{source} is damaged: {explained(error)}") from error


def explained(error: ValidationError) -> str:
    """Describe a validation error field by field, without pydantic's links."""
    return "; ".join(
        ": ".join(filter(None, (".".join(str(part) for part in detail["loc"]), f"{detail['msg']}, got {detail['input']!r}")))
        for detail in error.errors()
    )
