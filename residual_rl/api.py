"""What a user calls: `improve` a controller; `evaluate`, `diagnose`, `load` or `export` what came of it.

The command line does the same for tasks, environments and controllers that have a name or a file.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass

from residual_rl import storage
from residual_rl.bundles.bundle import Exported, write_bundle
from residual_rl.config import Config
from residual_rl.controllers import Controller, Zero, reads_state
from residual_rl.controllers.resolve import resolve
from residual_rl.custom.inspection import Description, same_environment
from residual_rl.custom.opened import Opened
from residual_rl.custom.sources import AnyEnv
from residual_rl.diagnosis.diagnosis import Diagnosis
from residual_rl.errors import ControllerError, ResidualRLError, RunError
from residual_rl.evaluation import base_outcome, evaluation_envs, roll_out
from residual_rl.policy import Policy, base_plus_residual, restore_residual
from residual_rl.residual import Composition
from residual_rl.runs.first_look import check_same_environment
from residual_rl.runs.reading import read_config, read_diagnosis, read_policy, read_verdict
from residual_rl.runs.run import Run
from residual_rl.seeds import MAX_EPISODES, Purpose, evaluation_seeds
from residual_rl.tasks import TASKS, find_task, spec_of
from residual_rl.tasks.task import AnyTask
from residual_rl.training.experiment import Experiment, Request, base_of_run, described, open_experiment
from residual_rl.training.train import Progress, diagnosis_so_far, train
from residual_rl.types import Measure, Spec
from residual_rl.verdict import Comparison, Side, Verdict, compared, side_of


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
    processes: bool = False,
    num_threads: int | None = None,
    checkpoint_seconds: float = 30.0,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    tell: Callable[[str], None] = print,
    **fields: Any,
) -> Run:
    """Learns a residual over a controller, and judges whether it made the controller better.

    The work is kept in the directory `out`. Called again with the same arguments it goes on where it was stopped, and
    returns at once where it was finished. Another controller or environment is refused, also one of the same name: the run
    keeps how its base answered in a few first steps, and what the environment did.

    Args:
        env: a task's name (`residual-rl list` shows them), any Gymnasium id, a function without arguments that makes a
            `gymnasium.Env`, a `gymnasium.Env`, or a `gymnasium.vector.VectorEnv`. Observations may be a `Box`, a `Dict` of
            them, or a goal environment's; actions a `Box` with bounds. Of an id or a function as many are made as a cycle has
            episodes, and one more where hindsight asks about goals.
        controller: a callable of what the environment shows, one observation or a batch, to an action in the environment's
            units; a model of Stable-Baselines3; the name of an `.onnx` file, of a table's `.npz` file, or of one of
            `CONTROLLERS`; None for the task's own. In a task of the library a callable takes a batch, see `Controller`. Or one
            that is made inside of the run, see `Prepared`; its environment steps are the first of `steps`.
        steps: environment steps, base and burn-in included, evaluations excluded.
        seed: decides all chance of the run.
        out: the run's directory; None for `runs/<task>/<method>/seed-<seed>`, with `-<preset>` after the method where it is not
            the default.
        method: "rpl"; "scratch" to learn without the controller; "expert-explore", with preset "silver2018" alone, to learn
            from what the controller does.
        preset: "default" or "silver2018".
        horizon: the steps after which an episode of your environment is cut; needed where it has no time limit.
        processes: whether each of your environments gets a process of its own, which pays where a step takes milliseconds. The
            script that calls this then needs an `if __name__ == "__main__":`, and the function that makes an environment must
            not be a lambda with open files or the like.
        num_threads: physics threads; None for one a core.
        checkpoint_seconds: what a kill may cost at most; a checkpoint is written at the end of the cycle after that.
        on_progress: called after each cycle.
        tell: is told, in a line, what was chosen because of what the controller is, and of too small a budget; see `train`.
        **fields: any other field of `Config`; one of its parts by its path, `**{"algorithm.actor_rate": 1e-4}`. Those not given
            follow the length of the episodes, see `pace`.

    Returns:
        The run; `run.verdict()` says what came of it.

    Raises:
        ResidualRLError: a name, value, controller or directory that cannot be used; the message says what would be right.
        Interrupted: SIGINT or SIGTERM arrived; a checkpoint was written.
    """
    if method == "scratch" and controller is None:
        controller = "zero"
    said = {"method": method, "preset": preset, "steps": steps, "seed": seed, **fields}
    numbers = _checked(horizon=horizon, num_threads=num_threads, checkpoint_seconds=checkpoint_seconds)
    horizon, num_threads, checkpoint_seconds = numbers.horizon, numbers.num_threads, numbers.checkpoint_seconds
    request = Request(controller, said, num_threads, tell, Path(out) if out else None)
    with open_experiment(env, request, horizon, processes) as experiment:
        config, task = experiment.config, experiment.task
        if config.replay_capacity < config.episodes_per_cycle * task.spec.horizon:
            raise ResidualRLError(f"replay_capacity {config.replay_capacity} is less than one cycle of episodes")
        with experiment.run as run:
            experiment.begin()
            if run.finished:
                tell(f"{run.path} was trained before; another seed or out starts a new run")
            else:
                train(experiment, on_progress, num_threads, checkpoint_seconds, tell)
                comparison = compare(run.path, task, experiment.controller, config.verdict_episodes, num_threads)
                run.finish(Verdict.on(comparison))
    return run


def load(path: str | Path | Run, controller: Any = None) -> Policy:
    """The policy that a run delivers: base plus residual if the verdict promoted it, else the base alone.

    Args:
        path: a finished run, or its directory. Nothing in it is executed.
        controller: the same that was improved; needed only where it is one of your own. Where `per_lane(make)` was improved,
            what `make()` gives does too.

    Returns:
        `observation -> action`, one or a batch, as the environment shows and takes them. Where the controller remembers, call
        `reset` at the start of an episode.

    Raises:
        RunError: the run is unfinished or damaged.
        ControllerError: the run's controller is not one of the library's, and none was given, or another one was.
    """
    path = Path(path)
    verdict = read_verdict(path)
    return _stored_policy(path, controller, promoted=verdict.promoted)


def export(path: str | Path | Run, out: str | Path, *, onnx: bool = False) -> Exported:
    """Writes the policy of a finished run as a bundle that runs with NumPy alone (`bundles.runtime`). No controller is in it.

    Args:
        path: the run, or its directory.
        out: the bundle's folder; must not be there yet, or be empty.
        onnx: also write the same function as ONNX; needs the `onnx` extra.

    Raises:
        RunError: the run is unfinished or damaged, or `out` cannot be written.
        ResidualRLError: ONNX was asked for and is not installed.
    """
    path = Path(path)
    verdict = read_verdict(path)
    arrays, config, _ = read_policy(path)
    about = described(path)
    spec = _spec_of(config, about)
    residual = restore_residual(config.algorithm, spec, arrays, str(path))
    return write_bundle(Path(out), residual, spec, read_config(path), verdict, onnx, about and about.layout)


@dataclass(frozen=True)
class _Numbers:
    """Arguments that are no fields of a configuration."""

    episodes: Annotated[int, Field(ge=1, le=MAX_EPISODES)] = 1
    horizon: Annotated[int, Field(ge=1)] | None = None
    num_threads: Annotated[int, Field(ge=1)] | None = None
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 0.0


def _checked(**values: Any) -> _Numbers:
    try:
        return _Numbers(**values)
    except ValidationError as error:
        raise ResidualRLError(storage.explained(error)) from None


@dataclass(frozen=True)
class Baseline:
    """How a controller does on its own."""

    task: str
    controller: str
    episodes: int
    base: Side
    measured_by: Measure = "success"
    """What the task is measured by."""

    def to_json(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return storage.to_json(self)


def evaluate(
    target: AnyEnv | Path | Run,
    controller: Any = None,
    *,
    env: AnyEnv | None = None,
    episodes: int = 500,
    horizon: int | None = None,
    processes: bool = False,
    num_threads: int | None = None,
    fresh: bool = False,
    tell: Callable[[str], None] = print,
) -> Comparison | Baseline:
    """Evaluates on the verdict's initial states, which no training and no selection ever sees.

    What a run delivers was decided once, by its verdict: no later evaluation changes it.

    Args:
        target: a run, or its directory: its selected policy is compared with its base. Or an environment as for `improve`: the
            controller is evaluated alone.
        controller: as for `improve`; for a run it is needed only where it is one of your own.
        env: of a run in an environment of your own: that environment.
        episodes: how many, of each.
        horizon: as for `improve`.
        processes: as for `improve`.
        num_threads: physics threads; None for one a core.
        fresh: on initial states that the verdict has not seen either: is what it promoted still better there?
        tell: is told, in a line, what a controller of your own was found to be.

    Returns:
        Of a run the comparison, of a controller how it does.

    Raises:
        ResidualRLError: a name, run or controller that cannot be used.
    """
    target = target.path if isinstance(target, Run) else target
    purpose = Purpose.CONFIRMATION if fresh else Purpose.VERDICT
    numbers = _checked(episodes=episodes, horizon=horizon, num_threads=num_threads)
    episodes, horizon, num_threads = numbers.episodes, numbers.horizon, numbers.num_threads
    if isinstance(target, str | Path) and Path(target).is_dir() and str(target) not in TASKS:
        return _evaluate_run(Path(target), controller, env, episodes, horizon, processes, num_threads, purpose)
    if isinstance(target, Path):
        raise RunError(f"there is no run directory {target}")
    said = {"method": "rpl", "preset": "default", "seed": 0}
    request = Request(controller, said, num_threads, tell, None, writes=False)
    with open_experiment(target, request, horizon, processes) as experiment:
        task = experiment.task
        outcome = base_outcome(task, experiment.controller, Composition(), episodes, num_threads, purpose)
    return Baseline(task.name, experiment.base.name, episodes, side_of(outcome), task.measured_by)


def _evaluate_run(
    path: Path,
    controller: Any,
    env: AnyEnv | None,
    episodes: int,
    horizon: int | None,
    processes: bool,
    num_threads: int | None,
    purpose: Purpose,
) -> Comparison:
    about, config = described(path), read_config(path)
    if about is None:
        task = find_task(config.task)
        base = base_of_run(path, controller, task.spec, num_threads)
        return compare(path, task, base.controller, episodes, num_threads, purpose)
    if env is None:
        raise RunError(f"{path} was trained in {about.task!r}, an environment of your own: pass it as env=...")
    with closing(Opened(env, about.horizon if horizon is None else horizon, processes)) as opened:
        same_environment(about, opened, path)
        check_same_environment(path, opened.few_lanes(), opened.name)
        base = base_of_run(path, controller, about.spec)
        foreign = opened.task(about.findings, opened.fixed_lanes or config.episodes_per_cycle)
        return compare(path, foreign, base.controller, episodes, num_threads, purpose)


def diagnose(path: str | Path | Run, controller: Controller | str | None = None) -> Diagnosis:
    """Why learning did not help, from measurements; of a run that is not finished as far as it has come.

    Args:
        path: the run, or its directory.
        controller: as for `improve`; where it is a callable of your own and not given, it is not asked anything.

    Raises:
        RunError: it is no run, it is damaged, or what would have to be looked at is not there.
    """
    path = Path(path)
    kept = read_diagnosis(path)
    if kept is not None:
        return kept
    if described(path) is not None:
        raise RunError(f"{path} is not finished, and its environment is yours: it can be diagnosed when it is finished")
    config = read_config(path)
    task = find_task(config.task)
    try:
        base = base_of_run(path, controller, task.spec)
    except ControllerError:
        if controller is not None:
            raise
        base = resolve(Zero(task.spec.action_size), task.spec)  # reads no goal, and so is never asked about one
    return diagnosis_so_far(Experiment(config, task, base, Run(path, config)))


def compare(
    path: Path,
    task: AnyTask,
    controller: Controller,
    episodes: int,
    num_threads: int | None,
    purpose: Purpose = Purpose.VERDICT,
) -> Comparison:
    """A run's selected policy beside its base, from the initial states of a purpose."""
    arrays, config, _ = read_policy(path)
    residual = restore_residual(config.algorithm, task.spec, arrays, str(path))
    composition = config.algorithm.composition
    base = base_outcome(task, controller, composition, episodes, num_threads, purpose)
    both = base_plus_residual(controller, composition, residual, task.spec.action_size)
    with closing(evaluation_envs(task, episodes, num_threads, reads_state(controller))) as envs:
        policy = roll_out(envs, both, evaluation_seeds(purpose, episodes))
    return compared(task.name, config.controller, base, policy, config.measured_by)


def _spec_of(config: Config, about: Description | None) -> Spec:
    return spec_of(config.task) if about is None else about.spec


def _stored_policy(path: str | Path, controller: Any, promoted: bool) -> Policy:
    arrays, config, _ = read_policy(path)
    about = described(path)
    spec = _spec_of(config, about)
    base = base_of_run(path, controller, spec).controller
    residual = restore_residual(config.algorithm, spec, arrays, str(path)) if promoted else None
    return Policy(base, config.algorithm.composition, residual, spec, about and about.layout)
