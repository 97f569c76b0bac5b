"""How long trials will take on this machine: told from trials of the same kind, or from a few seconds of trying."""

import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from residual_rl.config import Config
from residual_rl.controllers import make_controller, reads_state
from residual_rl.evaluation import base_alone, evaluation_envs, roll_out
from residual_rl.front_door import evaluate, improve
from residual_rl.pace import LONGEST_CYCLE, paced
from residual_rl.run import read_rows
from residual_rl.seeds import Purpose, evaluation_seeds
from residual_rl.setting import described
from residual_rl.studies.trial import INITIAL, Trial
from residual_rl.studies.worlds import WORLDS
from residual_rl.tasks import find_task
from residual_rl.train import Progress
from residual_rl.trial_directory import standing

STARTING = 20.0  # seconds to import and compile
TRIED_CYCLES = 5  # at most, and 2 at least
TRIED_EPISODES = 4
TRIED_SECONDS = 3.0
TOLD_SHARE = 0.1  # of its budget that a trial must have spent before others of its kind are told from it


class _Enough(Exception):
    """Ends a training that was only tried."""


class Estimate(NamedTuple):
    """What is left to do for a trial."""

    hours: float
    told_from: str
    """What the number rests on: "its kind" or "a try"."""


class Tried(NamedTuple):
    """What a try in a world of somebody else's shows."""

    config: Config
    """As the length of its episodes has it."""
    seconds_per_step: float
    """Of training."""
    seconds_per_episode: float
    """Of evaluation."""


def estimates(trials: Iterable[Trial], out: Path, tell: Callable[[str], None] = lambda line: None) -> dict[Trial, Estimate]:
    """What is left to do for each trial, if it is not finished."""
    trials = list(trials)
    told = _told(trials, out)
    steps: dict[str, float] = {}
    episodes: dict[tuple[str, str], float] = {}
    worlds: dict[str, Tried] = {}
    answer = {}
    for trial in trials:
        left = 1.0 - standing(trial, out / trial.name).step / trial.steps
        if trial.kind in told:
            answer[trial] = Estimate(max(0.0, left) * trial.steps * told[trial.kind] / 3600, "its kind")
            continue
        if trial.task in WORLDS:
            if trial.kind not in worlds:
                tell(f"trying {trial.task}/{trial.variant}")
                worlds[trial.kind] = try_world(trial)
            answer[trial] = Estimate(max(0.0, left) * whole(trial, *worlds[trial.kind]) / 3600, "a try")
            continue
        world = (trial.task, trial.config().controller)
        if trial.kind not in steps:
            tell(f"trying {trial.task}/{trial.variant}")
            steps[trial.kind] = 0.0 if trial.method == INITIAL else try_out(trial)
        if world not in episodes:
            episodes[world] = try_evaluation(trial)
        seconds = whole(trial, trial.config(), steps[trial.kind], episodes[world])
        answer[trial] = Estimate(max(0.0, left) * seconds / 3600, "a try")
    return answer


def whole(trial: Trial, config: Config, seconds_per_step: float, seconds_per_episode: float) -> float:
    """Seconds from the start to the verdict, on one core that has nothing else to do."""
    if trial.method == INITIAL:
        return config.evaluation_episodes * seconds_per_episode
    evaluations = 2 + trial.steps // config.evaluation_interval  # the base's, and one before the first step
    episodes = evaluations * config.evaluation_episodes + 2 * config.verdict_episodes
    return STARTING + trial.steps * seconds_per_step + episodes * seconds_per_episode


def try_out(trial: Trial) -> float:
    """Seconds of a training step, from a few cycles."""
    config, started = trial.config(), time.monotonic()
    cycle_steps = config.episodes_per_cycle * find_task(trial.task).spec.horizon

    def enough(progress: Progress) -> None:
        if progress.step >= 2 * cycle_steps and time.monotonic() - started > TRIED_SECONDS:
            raise _Enough

    few = {"evaluation_episodes": 1, "verdict_episodes": 1, "evaluation_interval": TRIED_CYCLES * cycle_steps}
    fields: dict[str, Any] = dict(trial.fields) | few
    with tempfile.TemporaryDirectory() as directory:
        with suppress(_Enough):
            improve(
                trial.task,
                trial.controller,
                steps=TRIED_CYCLES * cycle_steps,
                out=Path(directory) / "run",
                method=trial.method,
                preset=trial.preset,
                num_threads=1,
                on_progress=enough,
                tell=lambda line: None,
                **fields,
            )
        rows = read_rows(Path(directory) / "run" / "metrics.csv")
    return (rows[-1]["wall_seconds"] - rows[0]["wall_seconds"]) / (rows[-1]["step"] - rows[0]["step"])  # the first compiles


def try_world(trial: Trial) -> Tried:
    """What a few cycles in a world of somebody else's, and a few episodes of its controller, show."""
    world, started = WORLDS[trial.task], time.monotonic()

    def enough(progress: Progress) -> None:
        if progress.step > 2 * LONGEST_CYCLE and time.monotonic() - started > TRIED_SECONDS:
            raise _Enough

    few = {"evaluation_episodes": 1, "verdict_episodes": 1, "evaluation_interval": TRIED_CYCLES * LONGEST_CYCLE}
    fields: dict[str, Any] = dict(trial.fields) | few
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        with suppress(_Enough):
            improve(
                world.make,
                world.controller(),
                steps=TRIED_CYCLES * LONGEST_CYCLE,
                out=run,
                preset=trial.preset,
                horizon=world.horizon,
                on_progress=enough,
                tell=lambda line: None,
                **fields,
            )
        rows, about = read_rows(run / "metrics.csv"), described(run)
    assert about is not None
    seconds_per_step = (rows[-1]["wall_seconds"] - rows[0]["wall_seconds"]) / (rows[-1]["step"] - rows[0]["step"])
    clock = time.monotonic()
    evaluate(world.make, world.controller(), episodes=TRIED_EPISODES, horizon=world.horizon, tell=lambda line: None)
    config = paced(trial.config(), round(about.findings.episode_steps), trial.fields)
    # Opening the world, and looking at it, are counted in: an overestimate.
    return Tried(config, seconds_per_step, (time.monotonic() - clock) / TRIED_EPISODES)


def try_evaluation(trial: Trial) -> float:
    """Seconds of an episode of evaluation, from a few."""
    config, task = trial.config(), find_task(trial.task)
    controller = make_controller(config.controller, task.spec, 1)
    act = base_alone(controller, config.algorithm.composition, task.spec.action_size)
    with closing(evaluation_envs(task, TRIED_EPISODES, 1, reads_state(controller))) as envs:
        started = time.monotonic()
        roll_out(envs, act, evaluation_seeds(Purpose.SELECTION, TRIED_EPISODES))
        return (time.monotonic() - started) / TRIED_EPISODES


def _told(trials: Iterable[Trial], out: Path) -> dict[str, float]:
    """Kind of trial: seconds a step, evaluations included, of the one that has come farthest."""
    farthest: dict[str, tuple[float, float]] = {}
    for trial in trials:
        step, steps, seconds, *_ = standing(trial, out / trial.name)
        if seconds and step >= TOLD_SHARE * steps:
            farthest[trial.kind] = max(farthest.get(trial.kind, (0.0, 0.0)), (float(step), seconds / step))
    return {kind: pace for kind, (_, pace) in farthest.items()}
