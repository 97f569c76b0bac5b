"""Episodes that are still being recorded: a file each, so that a recording that is killed resumes without losing any."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from residual_rl.demonstrations.checking import flat, unflat
from residual_rl.demonstrations.episodes import About, Demonstration
from residual_rl.errors import DemonstrationError
from residual_rl.storage import disk_errors, make_directory, read_json, write_json, write_whole

PROGRESS = "progress.json"
SHOWN = "observations/"


class Staging:
    """A folder beside the one to be written.

    Args:
        out: the folder of the demonstrations.
        settings: plain JSON values on which the episodes depend.

    Raises:
        DemonstrationError: a recording with other settings lies there.
    """

    def __init__(self, out: Path, settings: Mapping[str, object]):
        self.folder = out.with_name(f".{out.name}.recording")
        self.attempts = 0
        """Episodes that have been run, kept or not."""
        if (self.folder / PROGRESS).exists():
            progress = read_json(self.folder / PROGRESS)
            if progress["settings"] != settings:
                raise DemonstrationError(
                    f"{self.folder} holds an unfinished recording with other settings, {progress['settings']}: finish it with "
                    "those, or remove that folder"
                )
            self.attempts = int(progress["attempts"])
        self._settings = settings
        make_directory(self.folder)

    def add(self, attempt: int, episode: Demonstration) -> None:
        """Keep an episode; its attempt counts once `count` has been called."""
        arrays = {SHOWN + name: array for name, array in flat(episode.observations).items()}
        arrays |= {name: getattr(episode, name) for name in ("actions", "rewards", "terminations", "truncations")}
        for name in ("success", "seed"):
            value = getattr(episode, name)
            arrays[name] = np.array([] if value is None else [value])

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)

        write_whole(self._file(attempt), write)

    def count(self, attempts: int) -> None:
        """Note that so many episodes have been run."""
        write_json(self.folder / PROGRESS, {"attempts": attempts, "settings": dict(self._settings)})
        self.attempts = attempts

    def kept(self) -> list[int]:
        """Return the attempts that are kept, in order."""
        found = sorted(int(path.stem.partition("_")[2]) for path in self.folder.glob("attempt_*.npz"))
        return [attempt for attempt in found if attempt < self.attempts]

    def episodes(self, about: About, number: int) -> Iterator[Demonstration]:
        """Yield the first episodes, so many, one at a time."""
        for attempt in self.kept()[:number]:
            try:
                with np.load(self._file(attempt), allow_pickle=False) as archive:
                    arrays = dict(archive)
            except (OSError, ValueError, BadZipFile) as error:
                raise DemonstrationError(f"{self._file(attempt)} is damaged: {error}; remove it and record again") from error
            shown = {name.removeprefix(SHOWN): arrays.pop(name) for name in list(arrays) if name.startswith(SHOWN)}
            success, seed = ([*arrays.pop(name).tolist(), None][0] for name in ("success", "seed"))
            yield Demonstration(unflat(shown, about.observation_space), **arrays, success=success, seed=seed)

    def remove(self) -> None:
        """Remove all, once the demonstrations are written."""
        with disk_errors(self.folder):
            shutil.rmtree(self.folder)

    def _file(self, attempt: int) -> Path:
        return self.folder / f"attempt_{attempt:07d}.npz"
