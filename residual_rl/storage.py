"""Files that are written whole or not at all: JSON, safetensors with a digest, and records (pydantic dataclasses)."""

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

PARTIAL = ".partial"  # ends the hidden name of a file that is being written, or was when its process was killed
Record = TypeVar("Record")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file beside its place and moves it there, so that no reader ever sees half of it.

    Args:
        path: the file. Its directory is made where there is none.
        write: writes to the path that it is given, which has another name.

    Raises:
        RunError: it cannot be written; what was there before is still there.
    """
    beside = path.with_name(f".{path.name}.{token_hex(4)}{PARTIAL}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch()  # better now than after a thousand frames
        try:
            write(beside)
            with beside.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """A table's row with numbers of eight digits, whatever their size: nobody but its task knows how large a return is."""
    return {name: float(f"{value:.8g}") if isinstance(value, float) else value for name, value in row.items()}


def write_json(path: Path, values: Any) -> None:
    """Writes plain JSON values, whole or not at all.

    Raises:
        RunError: the file cannot be written; what was there before is still there.
    """
    write_whole(path, lambda beside: beside.write_text(json.dumps(values, indent=2) + "\n"))


def read_json(path: Path, otherwise: str = "") -> Any:
    """The JSON values of a file.

    Args:
        path: the file.
        otherwise: what it means that there is none, for the message.

    Raises:
        RunError: there is none, or it is damaged.
    """
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"there is no {path}" + (f": {otherwise}" if otherwise else "")) from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}") from error


def acquire(lock: BaseFileLock, path: Path) -> AcquireReturnProxy:
    """Takes the lock of a directory, without waiting. What is returned may be entered, and releases it.

    Raises:
        RunError: another process holds it, or it cannot be written.
    """
    with disk_errors(path):
        try:
            return lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{path} is in use by another process") from None


def make_directory(path: Path) -> None:
    """Makes a directory, where there is none.

    Raises:
        RunError: it cannot be made.
    """
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns what the operating system says while `path` is written into a RunError that names it."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot write to {path}: {error}. What was saved before is intact") from error


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


def to_json(record: Any) -> Any:
    """A record as plain JSON values."""
    return TypeAdapter(type(record)).dump_python(record, mode="json")


def record_of(kind: type[Record], values: Any, source: object) -> Record:
    """What `to_json` made of a record.

    Raises:
        RunError: it is damaged; names `source`.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise RunError(f"{source} is damaged: {explained(error)}") from error


def explained(error: ValidationError) -> str:
    """What is wrong, field by field, without pydantic's links."""
    return "; ".join(
        ": ".join(filter(None, (".".join(str(part) for part in detail["loc"]), f"{detail['msg']}, got {detail['input']!r}")))
        for detail in error.errors()
    )
