"""Estimate how long trials take on this machine, from trials of the same kind or from a trial of a few seconds."""

import math
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from residual_rl.api import evaluate, improve
from residual_rl.config import Config
from residual_rl.controllers import make_controller
from residual_rl.custom.inspection import Description
from residual_rl.errors import ResidualRLError
from residual_rl.evaluation import base_outcome
from residual_rl.learning.burn_in import FixedBurnIn
from residual_rl.presets import LONGEST_CYCLE, pace, unless_given
from residual_rl.progress.reporter import Progress
from residual_rl.runs.files import METRICS_CSV
from residual_rl.runs.reading import read_rows
from residual_rl.seeds import Purpose
from residual_rl.studies.trial import INITIAL, Trial
from residual_rl.studies.trial_directory import standing
from residual_rl.studies.worlds import WORLDS
from residual_rl.tasks import find_task
from residual_rl.training.experiment import described

STARTING = 20.0  # seconds to import and compile
FEWEST_CYCLES, TRIED_CYCLES = 3, 5  # least and largest number of cycles to measure
TRIED_EPISODES = 4
TRIED_SECONDS = 3.0
MEASURED_SHARE = 0.1  # share of its budget after which a trial is used to estimate others of its kind


class _Enough(Exception):
    """Stop a training that was only measured."""


class Estimate(NamedTuple):
    """The remaining time of a trial."""

    hours: float
    """NaN if it could not be measured."""
    basis: str
    """Source of the number: "its kind" or "a try"; or the reason that there is none."""


class Tried(NamedTuple):
    """Result of a measurement."""

    config: Config
    """Configuration for the length of its episodes."""
    seconds_per_step: float
    """Of training."""
    seconds_per_episode: float
    """Of evaluation."""


def estimates(
    open_: Iterable[Trial], trials: Iterable[Trial], out: Path, tell: Callable[[str], None] = lambda line: None
) -> dict[Trial, Estimate]:
    """Estimate the remaining time of each of the `open_` trials, also from the other trials of their study."""
    paces, tried = _measured_paces(trials, out), _Tries(tell)
    answer = {}
    for trial in open_:
        left = max(0.0, 1.0 - standing(trial, out / trial.name).step / trial.steps)
        if trial.kind in paces:
            answer[trial] = Estimate(left * trial.steps * paces[trial.kind] / 3600, "its kind")
            continue
        try:
            answer[trial] = Estimate(left * whole(trial, *tried(trial)) / 3600, "a try")
        except ResidualRLError as error:
            answer[trial] = Estimate(math.nan, f"cannot be tried: {error}")
    return answer


class _Tries:
    """Short measurements, each made once: of a kind of trial, and of a task's evaluation."""

    def __init__(self, tell: Callable[[str], None]):
        self._tell = tell
        self._kinds: dict[str, Tried] = {}
        self._evaluations: dict[tuple[str, str], float] = {}

    def __call__(self, trial: Trial) -> Tried:
        """Return the measurement of this kind of trial."""
        if trial.kind not in self._kinds:
            self._tell(f"trying {trial.task}/{trial.variant}")
            self._kinds[trial.kind] = try_world(trial) if trial.task in WORLDS else self._of_task(trial)
        return self._kinds[trial.kind]

    def _of_task(self, trial: Trial) -> Tried:
        config = trial.config()
        seconds_per_step = 0.0 if trial.method == INITIAL else try_out(trial)
        which = trial.task, config.controller
        if which not in self._evaluations:
            self._evaluations[which] = try_evaluation(trial)
        return Tried(config, seconds_per_step, self._evaluations[which])


def whole(trial: Trial, config: Config, seconds_per_step: float, seconds_per_episode: float) -> float:
    """Return the seconds from the start to the verdict, on one free core."""
    if trial.method == INITIAL:
        return config.evaluation_episodes * seconds_per_episode
    evaluations = 2 + trial.steps // config.evaluation_interval  # the base's, and one before the first step
    episodes = evaluations * config.evaluation_episodes + 2 * config.verdict_episodes
    return STARTING + trial.steps * seconds_per_step + episodes * seconds_per_episode


def try_out(trial: Trial) -> float:
    """Measure the seconds of a training step in a few cycles."""
    start = partial(improve, trial.task, trial.controller, method=trial.method, preset=trial.preset, num_threads=1)
    cycle_steps = trial.config().episodes_per_cycle * find_task(trial.task).spec.horizon
    return _few_cycles(start, trial, cycle_steps)[0]


def try_world(trial: Trial) -> Tried:
    """Measure a few cycles in a world, and a few episodes of its controller."""
    world = WORLDS[trial.task]
    start = partial(improve, world.make, world.controller(), preset=trial.preset, horizon=world.horizon)
    seconds_per_step, about = _few_cycles(start, trial, LONGEST_CYCLE)
    assert about is not None
    started = time.monotonic()
    evaluate(world.make, world.controller(), episodes=TRIED_EPISODES, horizon=world.horizon, tell=None)
    config = unless_given(trial.config(), pace(about.findings.episode_steps, None, trial.preset, trial.steps), trial.fields)
    # This includes opening and probing the environment, so it is an overestimate.
    return Tried(config, seconds_per_step, (time.monotonic() - started) / TRIED_EPISODES)


def _few_cycles(start: Callable[..., Any], trial: Trial, cycle_steps: int) -> tuple[float, Description | None]:
    """Measure the seconds of a training step in a few cycles; return also the description of a user-supplied environment."""
    fields = dict(trial.fields)
    if isinstance(trial.config().algorithm.burn_in, FixedBurnIn):  # nearly all of a training comes after the burn-in
        fields["algorithm.burn_in.cycles"] = 0
    started, cycles = time.monotonic(), 0

    def enough(progress: Progress) -> None:
        nonlocal cycles
        cycles += progress.step > 0
        if cycles >= FEWEST_CYCLES and time.monotonic() - started > TRIED_SECONDS:
            raise _Enough

    steps = TRIED_CYCLES * cycle_steps
    few = {"evaluation_episodes": 1, "verdict_episodes": 1, "evaluation_interval": steps}
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        with suppress(_Enough):
            start(steps=steps, out=run, on_progress=enough, tell=None, **(fields | few))
        rows, about = read_rows(run / METRICS_CSV), described(run)
    first, last = rows[1 if len(rows) > 2 else 0], rows[-1]  # the first cycle includes compilation
    return (last["wall_seconds"] - first["wall_seconds"]) / (last["step"] - first["step"]), about


def try_evaluation(trial: Trial) -> float:
    """Measure the seconds of an evaluation episode."""
    config, task = trial.config(), find_task(trial.task)
    controller, started = make_controller(config.controller, task.spec, 1), time.monotonic()
    base_outcome(task, controller, config.algorithm.composition, TRIED_EPISODES, 1, Purpose.SELECTION)
    return (time.monotonic() - started) / TRIED_EPISODES


def _measured_paces(trials: Iterable[Trial], out: Path) -> dict[str, float]:
    """Return for each kind of trial the seconds per step, evaluations included, of the trial with the most steps."""
    farthest: dict[str, tuple[float, float]] = {}
    for trial in trials:
        step, steps, seconds, *_ = standing(trial, out / trial.name)
        if seconds and step >= MEASURED_SHARE * steps:
            farthest[trial.kind] = max(farthest.get(trial.kind, (0.0, 0.0)), (float(step), seconds / step))
    return {kind: pace for kind, (_, pace) in farthest.items()}
