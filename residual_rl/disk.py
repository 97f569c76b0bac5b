"""How files come onto the disk: whole or not at all, and what goes wrong is said by name."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

from filelock import AcquireReturnProxy, BaseFileLock, Timeout
from safetensors import SafetensorError

from residual_rl.errors import RunError

PARTIAL = ".partial"  # ends the hidden name of a file that is being written, or was when its process was killed


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
