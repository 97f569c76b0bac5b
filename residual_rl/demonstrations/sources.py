"""Open demonstrations by what they look like, and write them in a format by its name."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

from residual_rl.demonstrations.episodes import About, Demonstration, Demonstrations, from_arrays
from residual_rl.demonstrations.lerobot_files import is_lerobot, read_lerobot
from residual_rl.demonstrations.lerobot_writing import write_lerobot
from residual_rl.demonstrations.minari_files import read_minari, write_minari
from residual_rl.demonstrations.robomimic_files import read_robomimic
from residual_rl.errors import DemonstrationError, UnknownName
from residual_rl.storage import PARTIAL, disk_errors

Write = Callable[[About, Iterable[Demonstration], Path], None]
FORMATS: dict[str, Write] = {"minari": write_minari, "lerobot": write_lerobot}
"""Writers by the name of their format."""


def open_demonstrations(source: Any, rename: Mapping[str, str] | None = None, **about: Any) -> Demonstrations:
    """Return demonstrations from whatever holds them.

    Args:
        source: a folder of Minari's format, which `record` writes, or of LeRobot's (2.1 or 3.0); robomimic's `.hdf5`; the id of
            a Minari dataset on this machine; a `MinariDataset`; or episodes in memory, see `from_arrays`.
        rename: entries of the environment by LeRobot's features or robomimic's keys.
        **about: fields of `About` that take precedence over those that the source has.

    Raises:
        DemonstrationError: it holds no demonstrations, or they are damaged.
    """
    if isinstance(source, str | os.PathLike):
        found = _from_path(Path(source), rename)
    elif isinstance(source, Demonstrations):
        found = source
    elif hasattr(source, "storage") and hasattr(source, "iterate_episodes"):
        found = read_minari(source)
    elif isinstance(source, Iterable):
        return from_arrays(source, **about)
    else:
        raise DemonstrationError(
            f"demonstrations are a folder, a Minari dataset, or episodes in memory, not {type(source).__name__}"
        )
    return found.described(**about) if about else found


def _from_path(path: Path, rename: Mapping[str, str] | None) -> Demonstrations:
    if not path.exists() and path.suffix:
        raise DemonstrationError(f"there is no {path}")
    if is_lerobot(path):
        return read_lerobot(path, rename)
    if path.is_file():
        return read_robomimic(path, rename)
    if rename:
        raise DemonstrationError(f"rename is for datasets of LeRobot and robomimic; {path} has the environment's own keys")
    return read_minari(path)


def write_demonstrations(about: About, episodes: Iterable[Demonstration], out: Path, format: str = "minari") -> None:
    """Write episodes, which are asked for one at a time. The folder appears once all are in it.

    Raises:
        UnknownName: there is no such format.
        DemonstrationError: the folder exists.
        RunError: it cannot be written.
    """
    if format not in FORMATS:
        raise UnknownName("format of demonstrations", format, FORMATS)
    with appearing(out) as beside:
        FORMATS[format](about, episodes, beside)


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """Yield a hidden folder, which becomes `out` if nothing is raised.

    Raises:
        DemonstrationError: `out` exists and is not empty.
    """
    check_free(out)
    beside = out.with_name(f".{out.name}.{token_hex(4)}{PARTIAL}")
    with disk_errors(out):
        beside.mkdir(parents=True)
        try:
            yield beside
            if out.exists():
                out.rmdir()
            beside.rename(out)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def check_free(out: Path) -> None:
    """Check that nothing would be overwritten.

    Raises:
        DemonstrationError: the folder exists and is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DemonstrationError(f"{out} exists: choose another folder, nothing is overwritten")
