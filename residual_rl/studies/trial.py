"""What a study is made of: trials as plain data. Nothing here runs anything."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from residual_rl.config import Config
from residual_rl.errors import ResidualRLError
from residual_rl.presets import make_config, paced
from residual_rl.studies.worlds import WORLDS
from residual_rl.tasks import find_task

INITIAL = "initial"
"""The method of a trial that learns nothing: the controller alone is evaluated, on the states that select a checkpoint."""


@dataclass(frozen=True)
class Trial:
    """One training, or one evaluation of a controller alone. Everything in it is plain data: it can be sent anywhere."""

    task: str
    """A task of the library, or a key of `WORLDS`."""
    variant: str
    """What its line is called in tables and figures: trials that differ in their seed alone share it, within a task."""
    seed: int
    steps: int
    """Environment steps, as in `Config`."""
    controller: str | None = None
    """A key of `CONTROLLERS` or a table's file; None for the task's, or the world's, own."""
    method: str = "rpl"
    """A key of `METHODS`, or "initial"."""
    preset: str = "default"
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Other fields of `Config`; those of its parts by their path: `{"algorithm.actor_rate": 1e-4}`."""

    @property
    def name(self) -> str:
        """Tells it from the other trials of its study, and where its directory is: `task/variant/seed-0`."""
        return f"{self.task}/{self.variant}/seed-{self.seed}"

    @property
    def kind(self) -> str:
        """Trials that differ in seed and budget alone have the same."""
        return repr(replace(self, seed=0, steps=1, fields=dict(sorted(self.fields.items()))))

    def config(self) -> Config:
        """What decides its run; of a world, without what its first episodes will show.

        Raises:
            ResidualRLError: a name or a value that does not exist or is out of range.
        """
        if self.task in WORLDS:
            if self.method != "rpl" or self.controller is not None:
                raise ResidualRLError(
                    f"{self.task} is a world of somebody else's: its own controller is improved, and no other"
                )
            own = {"task": self.task, "controller": self.task, "steps": self.steps, "seed": self.seed}
            return make_config(self.preset, **own, **self.fields)
        task = find_task(self.task)
        method = "rpl" if self.method == INITIAL else self.method
        controller = self.controller or ("zero" if method == "scratch" else task.default_controller)
        fields = {"task": task.name, "controller": controller, "method": method, "steps": self.steps, "seed": self.seed}
        return paced(make_config(self.preset, **fields, **self.fields), task, self.fields)

    def to_json(self) -> dict[str, Any]:
        """The trial as plain JSON values: the arguments of `Trial`."""
        return asdict(self)


@dataclass(frozen=True)
class Study:
    """Trials that are to be compared with each other."""

    name: str
    summary: str
    trials: tuple[Trial, ...]
    figures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name of a figure: the tasks that it shows, a panel each. None for one figure of all tasks."""
    paper: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Task and variant: the success rate, or the mean return, that was published."""


def chosen(
    trials: Iterable[Trial],
    patterns: Iterable[str] = (),
    seeds: Iterable[int] | None = None,
    steps: int | None = None,
) -> list[Trial]:
    """The trials that were asked for.

    Args:
        trials: a study's.
        patterns: shell patterns; a trial is taken if one of them is its task, its variant, `task/variant` or its name.
        seeds: instead of the study's own. "initial" keeps its own: chance decides nothing in it that a seed could change.
        steps: the budget of every trial that learns, instead of the study's.

    Raises:
        ResidualRLError: a pattern names no trial.
    """
    trials, patterns = list(trials), list(patterns)
    if seeds is not None:
        learning = dict.fromkeys(replace(trial, seed=0).name for trial in trials if trial.method != INITIAL)
        one_each = {replace(trial, seed=0).name: trial for trial in reversed(trials)}
        trials = [trial for trial in trials if trial.method == INITIAL] + [
            replace(one_each[name], seed=seed) for seed in seeds for name in learning
        ]
    for pattern in patterns:
        if not any(_matches(trial, pattern) for trial in trials):
            known = ", ".join(dict.fromkeys(f"{trial.task}/{trial.variant}" for trial in trials))
            raise ResidualRLError(f"{pattern!r} names no trial of this study, or none with these seeds; there are: {known}")
    if patterns:
        trials = [trial for trial in trials if any(_matches(trial, pattern) for pattern in patterns)]
    if steps is None:
        return trials
    return [trial if trial.method == INITIAL else replace(trial, steps=steps) for trial in trials]


def _matches(trial: Trial, pattern: str) -> bool:
    names = (trial.task, trial.variant, f"{trial.task}/{trial.variant}", trial.name)
    return any(fnmatchcase(name, pattern) for name in names)
