"""Trials and studies as plain data. Nothing here runs them."""

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
"""The method of a trial without learning: evaluate the controller alone, on the states that select the checkpoint."""


@dataclass(frozen=True)
class Trial:
    """One training, or one evaluation of a controller alone, as plain data that another process can receive."""

    task: str
    """A task of the library, or a key of `WORLDS`; with `env`, a name of your choice."""
    variant: str
    """Name of its line in tables and figures. Trials of a task that differ only in their seed share it."""
    seed: int
    steps: int
    """Environment steps, as in `Config`."""
    controller: str | None = None
    """A key of `CONTROLLERS`; a file; or the importable name `module:name` of a controller of your own, as `improve` takes
    it. None for the default of the task or world."""
    method: str = "rpl"
    """A key of `METHODS`, or "initial"."""
    preset: str = "default"
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Further fields of `Config`; nested fields by their path: `{"algorithm.pessimism": 0.5}`."""
    env: str | None = None
    """An environment of your own: a Gymnasium id, or the importable name `module:name` of a function that makes it."""

    @property
    def name(self) -> str:
        """Identifier within the study, and path of the directory: `task/variant/seed-0`."""
        return f"{self.task}/{self.variant}/seed-{self.seed}"

    @property
    def kind(self) -> str:
        """Key shared by trials that differ only in seed and budget."""
        return repr(replace(self, seed=0, steps=1, fields=dict(sorted(self.fields.items()))))

    def config(self) -> Config:
        """Return the configuration of its run. For a world or `env`, some fields are known only after the first episodes.

        Raises:
            ResidualRLError: a name does not exist, or a value is out of range.
        """
        if self.env is not None:
            return self._config_of_env()
        if self.task in WORLDS:
            if self.method != "rpl" or self.controller is not None:
                raise ResidualRLError(
                    f"the world {self.task} comes with its own controller and cannot be combined with another"
                )
            own = {"task": self.task, "controller": self.task, "steps": self.steps, "seed": self.seed}
            return make_config(self.preset, **own, **self.fields)
        task = find_task(self.task)
        method = "rpl" if self.method == INITIAL else self.method
        controller = self.controller or ("zero" if method == "scratch" else task.default_controller)
        fields = {"task": task.name, "controller": controller, "method": method, "steps": self.steps, "seed": self.seed}
        return paced(make_config(self.preset, **fields, **self.fields), task, self.fields)

    def _config_of_env(self) -> Config:
        if self.task in WORLDS or self.method == INITIAL or (self.controller is None and self.method != "scratch"):
            raise ResidualRLError(
                f"{self.name}: a trial in an environment of your own needs a controller, and a task that is no world's name; "
                f"the method {INITIAL!r} is for tasks of the library"
            )
        own = {"task": self.task, "controller": self.controller or "zero", "method": self.method}
        return make_config(self.preset, **own, steps=self.steps, seed=self.seed, **self.fields)

    def to_json(self) -> dict[str, Any]:
        """Return the trial as plain JSON values: the arguments of `Trial`."""
        return asdict(self)


@dataclass(frozen=True)
class Study:
    """A list of trials to compare."""

    name: str
    summary: str
    trials: tuple[Trial, ...]
    figures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name of a figure: its tasks, a panel each. If empty, one figure shows all tasks."""
    paper: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Task and variant: the published success rate or mean return."""


def chosen(
    trials: Iterable[Trial],
    patterns: Iterable[str] = (),
    seeds: Iterable[int] | None = None,
    steps: int | None = None,
) -> list[Trial]:
    """Select trials of a study.

    Args:
        trials: a study's.
        patterns: shell patterns; a trial is selected if its task, its variant, `task/variant` or its name matches one of them.
        seeds: instead of the study's own. "initial" keeps its own, because its result does not depend on the seed.
        steps: the budget of every learning trial, instead of the study's.

    Raises:
        ResidualRLError: a pattern matches no trial.
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
