"""The library's functions: `improve` a controller; `evaluate`, `compare`, `diagnose`, `load` or `export` the result.

The command line does the same for tasks, environments and controllers that are given by a name or a file.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from pydantic.dataclasses import dataclass

from residual_rl import storage
from residual_rl.bundles.bundle import Exported, write_bundle
from residual_rl.config import Config, to_json
from residual_rl.controllers import Zero, reads_state
from residual_rl.controllers.resolve import resolve
from residual_rl.custom.description import Description
from residual_rl.custom.inspection import same_environment
from residual_rl.custom.opened import Opened
from residual_rl.custom.sources import AnyEnv
from residual_rl.diagnosis.diagnosis import Diagnosis
from residual_rl.errors import ControllerError, ResidualRLError, RunError
from residual_rl.evaluation import base_outcome, evaluation_envs
from residual_rl.judging.controllers import one_beside_another, open_both
from residual_rl.judging.runs import verdict_of
from residual_rl.judging.sequential import compare_in_turns
from residual_rl.policy import Policy, restore_residual
from residual_rl.progress.metric_log import open_log
from residual_rl.progress.reporter import Progress, Reporter, Tell, reporter_of
from residual_rl.residual import Composition
from residual_rl.runs.files import POLICY, VERDICT
from residual_rl.runs.reading import (
    judged_policy,
    read_config,
    read_diagnosis,
    read_judgements,
    read_kept_encoder,
    read_policy,
    read_verdict,
)
from residual_rl.runs.run import Run
from residual_rl.seeds import MAX_EPISODES, Purpose, evaluation_seeds
from residual_rl.tasks import find_task, spec_of
from residual_rl.training.experiment import (
    Experiment,
    Request,
    base_of_run,
    described,
    encoder_of_run,
    environment_of_run,
    open_experiment,
)
from residual_rl.training.train import diagnosis_so_far, train
from residual_rl.types import Measure, Spec
from residual_rl.verdict import Comparison, Side, side_of


def improve(
    env: AnyEnv,
    controller: Any = None,
    *,
    steps: int = 100_000,
    seed: int = 0,
    out: str | Path | None = None,
    method: str = "rpl",
    preset: str = "default",
    horizon: int | None = None,
    success: str = "last",
    processes: bool = False,
    encoder: Any = None,
    num_threads: int | None = None,
    checkpoint_seconds: float = 30.0,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    log: str | None = None,
    tell: Tell = print,
    **fields: Any,
) -> Run:
    """Learn a residual over a controller, and judge whether it made the controller better.

    The run is saved in the directory `out`. Called again with the same arguments, it resumes from the last checkpoint, or
    returns at once if the run is finished. Another controller or environment is refused, even one of the same name: the run
    records the base's actions and the environment's observations in the first few steps.

    Args:
        env: a task's name (`residual-rl list` shows them), any Gymnasium id, a function without arguments that makes a
            `gymnasium.Env`, a `gymnasium.Env`, or a `gymnasium.vector.VectorEnv`. Observations may be a `Box`, a `Dict` of
            them, or a goal environment's; actions a `Box` with bounds. For an id or a function, one environment is made for
            each episode of a cycle, and one more if hindsight needs the reward of other goals.
        controller: a callable that maps an observation of the environment, or a batch of them, to an action in the
            environment's units; a model of Stable-Baselines3; the name of an `.onnx`, `.npz` or `.safetensors` file, or of
            one of `CONTROLLERS`; None for the task's own. In a task of the library a callable takes a batch (`Controller`).
            Or a base that is made inside the run, see `Prepared`; its environment steps are the first of `steps`.
        steps: environment steps, base and burn-in included, evaluations excluded.
        seed: seeds all randomness of the run.
        out: the run's directory; None for `runs/<task>/<method>/seed-<seed>`, with `-<preset>` after the method if it is not
            the default.
        method: "rpl"; "scratch" to learn without the controller; "expert-explore", only with preset "silver2018", to learn
            from the controller's demonstrations.
        preset: "default" or "silver2018".
        horizon: the steps after which an episode of your environment is cut; needed if it has no time limit and its first
            episodes do not show one.
        success: which steps of your environment's info["is_success"] make an episode a success: "last", the last one; "once",
            any; "held:N", N in a row.
        processes: whether each of your environments gets a process of its own, which pays if a step takes milliseconds. The
            script that calls this then needs an `if __name__ == "__main__":`, and the function that makes an environment must
            not be a lambda with open files or the like.
        encoder: what turns observations such as images into the features that the learner sees, once a step: a callable of a
            batch of what the environment shows (of a goal environment, of its `observation`) to floating-point features [B, F];
            a network in an `.onnx` file; or the folder of a saved encoder. The controller sees what the environment shows.
            None: the controller's own `encoder`, if it has `act_on_features` too; else the learner sees what the environment
            shows, which must not be images.
        num_threads: physics threads; None for one per core.
        checkpoint_seconds: seconds between checkpoints; each is written at the end of a cycle.
        on_progress: called after each cycle.
        log: "tensorboard" or "wandb" to write metrics and evaluations there too; needs the extra of that name.
        tell: receives the plan, the progress, the properties found of controller and environment, and the verdict: `print`
            shows a bar in a terminal and a notebook, and elsewhere prints a line for each evaluation; another function is
            called with these lines; None for silence.
        **fields: any other field of `Config`; one of a part by its path, `**{"algorithm.actor_rate": 1e-4}`. Fields not given
            follow the length of the episodes, see `pace`.

    Returns:
        The run; `run.verdict()` is its result.

    Raises:
        ResidualRLError: a name, value, controller or directory that cannot be used; the message says what would be right.
        Interrupted: SIGINT or SIGTERM arrived; a checkpoint was written.
    """
    if method == "scratch" and controller is None:
        controller = "zero"
    given = {"method": method, "preset": preset, "steps": steps, "seed": seed, **fields}
    _check_counts(horizon=horizon, num_threads=num_threads)
    if not checkpoint_seconds >= 0.0:
        raise ResidualRLError(f"checkpoint_seconds must be at least 0, not {checkpoint_seconds!r}")
    with reporter_of(tell) as report:
        directory = Path(out) if out else None
        request = Request(controller, given, num_threads, report.line, directory, encoder=encoder)
        with open_experiment(env, request, horizon, processes, success) as experiment:
            _improve(experiment, report, on_progress, num_threads, checkpoint_seconds, log)
    return experiment.run


def _improve(
    experiment: Experiment,
    report: Reporter,
    on_progress: Callable[[Progress], None],
    num_threads: int | None,
    checkpoint_seconds: float,
    log: str | None,
) -> None:
    """Train and judge in the experiment's run, unless it is finished."""
    config, task = experiment.config, experiment.task
    if config.replay_capacity < config.episodes_per_cycle * task.spec.horizon:
        raise ResidualRLError(f"replay_capacity {config.replay_capacity} is less than one cycle of episodes")
    with experiment.run as run:
        experiment.begin()
        if run.finished:
            report.line(f"{run.path} is finished; choose another seed or out to start a new run")
        else:
            if log is not None:
                run.log = open_log(log, run.path, to_json(config))
            train(experiment, on_progress, num_threads, checkpoint_seconds, report)
            report.line(f"verdict: {config.verdict_episodes} episodes each of base and policy, on held-out initial states")
            run.finish(verdict_of(config, run.path, task, experiment.controller, num_threads))
        report.verdict(str(run.verdict()))


def configure(
    env: AnyEnv,
    controller: Any = None,
    *,
    method: str = "rpl",
    preset: str = "default",
    horizon: int | None = None,
    processes: bool = False,
    encoder: Any = None,
    tell: Tell = print,
    **fields: Any,
) -> Config:
    """Return the configuration with which `improve` would run; the arguments are the same.

    In a user-supplied environment a few episodes of the controller are run, since some values depend on their length.

    Raises:
        ResidualRLError: a name, value or controller that cannot be used.
    """
    if method == "scratch" and controller is None:
        controller = "zero"
    given = {"method": method, "preset": preset, "seed": 0, **fields}
    request = Request(controller, given, None, reporter_of(tell).line, None, writes=False, encoder=encoder)
    with open_experiment(env, request, horizon, processes) as experiment:
        return experiment.config


def load(path: str | Path | Run, controller: Any = None, *, encoder: Any = None, unfinished: bool = False) -> Policy:
    """Return the policy that a run delivers: base plus residual if the verdict promoted it, else the base alone.

    Args:
        path: a finished run, or its directory. Nothing in it is executed.
        controller: the one that was improved; needed only if it is user-supplied. For `per_lane(make)`, the result of `make()`
            is enough.
        encoder: as for `improve`; needed only if it is a Python callable.
        unfinished: whether to load from an unfinished run by its latest judgement: the policy that was judged if `judge`
            promoted it, else the base. For a finished run the verdict decides all the same.

    Returns:
        `observation -> action`, one or a batch, in the environment's own form and units. If the controller is stateful, call
        `reset` at the start of an episode.

    Raises:
        RunError: the run is unfinished or damaged; or, if it may be unfinished, was never judged.
        ControllerError: the run's controller is user-supplied, and none or another one was passed.
    """
    path = Path(path)
    if not unfinished or (path / VERDICT).exists():
        return _stored_policy(path, controller, encoder, POLICY, read_verdict(path).promoted)
    read_config(path)  # raises if it is no run at all
    judgements = read_judgements(path)
    if not judgements:
        raise RunError(f"{path} was never judged: `residual-rl judge {path}` or residual_rl.judge(...) does that")
    return _stored_policy(path, controller, encoder, judged_policy(judgements[-1].step), judgements[-1].verdict.promoted)


def export(path: str | Path | Run, out: str | Path, *, onnx: bool = False) -> Exported:
    """Write the policy of a finished run as a bundle that runs with NumPy alone (`bundles.runtime`), without the controller.

    Args:
        path: the run, or its directory.
        out: the bundle's folder; must not be there yet, or be empty.
        onnx: also write the same function as ONNX; needs the `onnx` extra.

    Raises:
        RunError: the run is unfinished or damaged, or `out` cannot be written.
        ResidualRLError: the policy has an encoder; or `onnx` is set, but ONNX is not installed.
    """
    path = Path(path)
    verdict = read_verdict(path)
    arrays, config, _ = read_policy(path)
    about = described(path)
    if about is not None and about.layout.encoded is not None:
        kept = "a Python callable" if read_kept_encoder(path) is None else "a network that a bundle cannot run"
        raise ResidualRLError(f"{path} cannot be exported: its encoder {about.layout.encoded.encoder!r} is {kept}; use `load`")
    spec = _spec_of(config, about)
    residual = restore_residual(config.algorithm, spec, arrays, str(path))
    return write_bundle(Path(out), residual, spec, read_config(path), verdict, onnx, about and about.layout)


def _check_counts(episodes: int = 1, horizon: int | None = None, num_threads: int | None = None) -> None:
    """Check arguments that are not fields of a configuration.

    Raises:
        ResidualRLError: one of them is not a whole number, or out of range.
    """
    for name, value in {"episodes": episodes, "horizon": horizon, "num_threads": num_threads}.items():
        if value is not None and not (isinstance(value, int | np.integer) and value >= 1):
            raise ResidualRLError(f"{name} must be a whole number of at least 1, not {value!r}")
    if episodes > MAX_EPISODES:
        raise ResidualRLError(f"episodes must be at most {MAX_EPISODES:,}, not {episodes:,}")


@dataclass(frozen=True)
class Baseline:
    """The result of evaluating a controller alone."""

    task: str
    controller: str
    episodes: int
    base: Side
    measured_by: Measure = "success"
    """The measure of the task."""

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return storage.to_json(self)


def evaluate(
    env: AnyEnv,
    controller: Any = None,
    *,
    episodes: int = 500,
    horizon: int | None = None,
    success: str | None = None,
    processes: bool = False,
    num_threads: int | None = None,
    fresh: bool = False,
    tell: Tell = print,
) -> Baseline:
    """Evaluate a controller alone, on the verdict's initial states, which no training and no selection ever sees.

    `reevaluate` compares the policy of a run with its base, `compare` any two controllers.

    Args:
        env: an environment as for `improve`.
        controller: as for `improve`.
        episodes: their number.
        horizon: as for `improve`.
        success: as for `improve`.
        processes: as for `improve`.
        num_threads: physics threads; None for one per core.
        fresh: whether to use initial states that no verdict uses either.
        tell: called with a line about the properties found of a user-supplied controller.

    Raises:
        ResidualRLError: a name or controller that cannot be used.
    """
    _check_counts(episodes, horizon, num_threads)
    if isinstance(env, Path | Run):
        raise RunError(f"{Path(env)} is no environment; reevaluate(run) compares the policy of a run with its base")
    given = {"method": "rpl", "preset": "default", "seed": 0}
    purpose = Purpose.CONFIRMATION if fresh else Purpose.VERDICT
    request = Request(controller, given, num_threads, reporter_of(tell).line, None, writes=False)
    with open_experiment(env, request, horizon, processes, success or "last") as experiment:
        task = experiment.task
        outcome = base_outcome(task, experiment.controller, Composition(), episodes, num_threads, purpose)
    return Baseline(task.name, experiment.base.name, episodes, side_of(outcome), task.measured_by)


def compare(
    env: AnyEnv,
    base: Any,
    policy: Any,
    *,
    episodes: int = 500,
    horizon: int | None = None,
    success: str | None = None,
    processes: bool = False,
    num_threads: int | None = None,
    tell: Tell = print,
) -> Comparison:
    """Compare any two controllers: did a change make it better, or worse? Nothing is learned.

    Both run in turns from the same initial states. The result is tested several times, and the comparison stops as soon as it
    is certain; the error of 5 % is that of all tests together, see `statistics.looks`. No verdict uses these initial states, so
    a controller may be tuned on them before it is improved.

    Args:
        env: an environment as for `improve`.
        base: a controller as for `improve`.
        policy: the controller to compare with it; None for the task's own, as for `base`.
        episodes: the maximum for each of them.
        horizon: as for `improve`.
        success: as for `improve`.
        processes: as for `improve`.
        num_threads: physics threads; None for one per core.
        tell: called with a line about the properties found of a user-supplied controller.

    Returns:
        `better`, `worse` or neither, with the difference and its interval.

    Raises:
        ResidualRLError: a name or controller that cannot be used.
    """
    _check_counts(episodes, horizon, num_threads)
    line = reporter_of(tell).line
    both = open_both(env, base, policy, horizon, success or "last", processes, num_threads, line)
    with both as (task, first, second, name):
        act = one_beside_another(first, second, task.spec.action_size)
        seeds = evaluation_seeds(Purpose.TUNING, episodes)
        with closing(evaluation_envs(task, episodes, num_threads, reads_state(first) or reads_state(second))) as envs:
            return compare_in_turns(task.name, name, envs, act, seeds, task.measured_by, sequential=True)


def diagnose(path: str | Path | Run, controller: Any = None, *, env: AnyEnv | None = None, encoder: Any = None) -> Diagnosis:
    """Measure why learning did not help; also works for an unfinished run.

    Args:
        path: the run, or its directory.
        controller: as for `improve`; only unfinished runs need it. Without it some findings are unknown.
        env: as for `evaluate`; only unfinished runs need it.
        encoder: as for `improve`; only unfinished runs need it, if it is a Python callable.

    Raises:
        RunError: it is no run, it is damaged, or it has no checkpoint yet.
    """
    path = Path(path)
    kept = read_diagnosis(path)
    if kept is not None:
        return kept
    config, about = read_config(path), described(path)
    spec = _spec_of(config, about)
    seen_with = encoder_of_run(path, about, encoder, controller)
    try:
        base = base_of_run(path, controller, spec, encoder=seen_with)
    except ControllerError:
        if controller is not None:
            raise
        base = None
    unasked = resolve(Zero(spec.action_size), spec)  # reads no goal, so it is never queried at one
    if about is None:
        return diagnosis_so_far(
            Experiment(config, find_task(config.task), base or unasked, Run(path, config)), base is not None
        )
    env = environment_of_run(path, about) if env is None else env
    with closing(Opened(env, about.horizon, encoder=seen_with)) as opened:
        same_environment(about, opened, path)
        task = opened.task(about, opened.fixed_lanes or config.episodes_per_cycle)
        return diagnosis_so_far(Experiment(config, task, base or unasked, Run(path, config)), base is not None)


def _spec_of(config: Config, about: Description | None) -> Spec:
    return spec_of(config.task) if about is None else about.spec


def _stored_policy(path: Path, controller: Any, encoder: Any, name: str, promoted: bool) -> Policy:
    arrays, config, _ = read_policy(path, name)
    about = described(path)
    spec = _spec_of(config, about)
    seen_with = encoder_of_run(path, about, encoder, controller)
    base = base_of_run(path, controller, spec, encoder=seen_with).controller
    residual = restore_residual(config.algorithm, spec, arrays, str(path)) if promoted else None
    return Policy(base, config.algorithm.composition, residual, spec, about and about.layout, seen_with)
