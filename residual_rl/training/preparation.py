"""The stage that makes a base before it is improved. It can be stopped and resumed like training; its files are in `base/`."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from residual_rl.config import differences
from residual_rl.controllers import CONTROLLERS, name_of
from residual_rl.controllers.artefacts import Prepared
from residual_rl.controllers.resolve import OURS, Base, of_artefact
from residual_rl.errors import ControllerError, Interrupted, ResidualRLError, RunError
from residual_rl.processes import stop_requested
from residual_rl.runs.files import BASE, CONFIG, PREPARATION
from residual_rl.runs.reading import is_begun, read_kept_base
from residual_rl.runs.run import save_artefact, strangers_in
from residual_rl.storage import acquire, make_directory, read_json, record_of, to_json, write_json
from residual_rl.tasks.task import AnyTask


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of a preparation."""

    base: str
    task: str
    budget: int
    seed: int
    settings: dict[str, Any]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Progress:
    """The progress of a preparation: `base/preparation.json`."""

    decided_by: Settings
    steps: int
    """Environment steps done, as last reported."""
    wall_seconds: float
    done: bool


def prepared_name(prepared: Prepared) -> str:
    """Return the name of a prepared base."""
    name = name_of(prepared)
    is_ours = type(prepared).__module__.startswith(OURS)
    return f"{type(prepared).__module__}.{name}" if name in CONTROLLERS and not is_ours else name


def read_preparation(path: str | Path) -> Progress | None:
    """Return the progress of the preparation of a run's base; None if the base is not a prepared one.

    Raises:
        RunError: the file is damaged.
    """
    file = Path(path) / BASE / PREPARATION
    return record_of(Progress, read_json(file), file) if file.exists() else None


def prepare(prepared: Prepared, task: AnyTask, budget: int, seed: int, directory: Path) -> Base:
    """Make the base in a run's directory; resume if it was begun, and return it if it is finished.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived.
        RunError: the directory is in use, or holds something else.
        ResidualRLError: the budget is spent before anything can be learned.
    """
    place, name = directory / BASE, prepared_name(prepared)
    settings = Settings(name, task.name, budget, seed, prepared.settings)
    make_directory(directory)
    with acquire(FileLock(directory / ".lock"), directory):
        so_far = read_preparation(directory)
        if so_far is None:
            if (directory / CONFIG).exists() and is_begun(directory):
                raise RunError(f"{directory} was written over a base that was not prepared; choose another directory")
            if not (directory / CONFIG).exists() and (strangers := strangers_in(directory)):
                raise RunError(f"{directory} is not a run, and not empty (it holds {strangers[0]}); choose another directory")
            so_far = Progress(settings, 0, 0.0, done=False)
            make_directory(place)
            write_json(place / PREPARATION, to_json(so_far))
        elif lines := differences(asdict(so_far.decided_by), asdict(settings)):
            raise RunError(
                f"the base in {directory} is prepared by other settings; choose another directory, or the same settings:\n  "
                + "\n  ".join(lines)
            )
        if not so_far.done:
            _make(prepared, task, settings, so_far, place)
        return load_prepared(prepared, directory)


def load_prepared(prepared: Prepared, directory: str | Path) -> Base:
    """Return the base that a run has prepared.

    Raises:
        ControllerError: there is none, or it is damaged.
    """
    kept = read_kept_base(directory)
    if kept is None or not kept.prepared:
        raise ControllerError(f"{directory} holds no base that {prepared_name(prepared)!r} has prepared")
    artefact = prepared.load(Path(directory) / BASE)
    if artefact.digest != kept.digest:
        raise ControllerError(f"the base in {directory} is damaged: it is not what was saved")
    return of_artefact(artefact, prepared_name(prepared))


def _make(prepared: Prepared, task: AnyTask, settings: Settings, so_far: Progress, place: Path) -> None:
    started = time.monotonic() - so_far.wall_seconds

    def note(steps: int, done: bool) -> None:
        write_json(place / PREPARATION, to_json(Progress(settings, int(steps), time.monotonic() - started, done)))

    with stop_requested() as stopped:

        def report(steps: int) -> None:
            note(steps, done=False)
            if stopped():
                raise Interrupted(f"stopped at step {steps} of the preparation; the same command resumes from there")

        made = prepared.prepare(task, settings.budget, settings.seed, place, report)
        if made.steps >= settings.budget:
            raise ResidualRLError(
                f"the preparation of {settings.base!r} took {made.steps:,} of {settings.budget:,} steps: none is left to train"
            )
        save_artefact(place, made.artefact, prepared=True)
        note(made.steps, done=True)
        if stopped():
            raise Interrupted("stopped after the preparation; the same command resumes from there")
