"""What a user calls: `improve` a controller; `evaluate`, `diagnose`, `load` or `export` what came of it.

The command line does the same.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from residual_rl.bundle import Exported, write_bundle
from residual_rl.config import Config, make_config
from residual_rl.controllers import CONTROLLERS, Controller, TableController, Zero, make_controller, name_of, reads_state
from residual_rl.diagnosis import Diagnosis
from residual_rl.errors import ControllerError, ResidualRLError
from residual_rl.evaluation import Outcome, base_alone, evaluation_envs, roll_out
from residual_rl.policy import Policy, base_plus_residual, restore_residual
from residual_rl.residual import Composition
from residual_rl.run import TABLE, Run, read_config, read_diagnosis, read_policy, read_verdict
from residual_rl.seeds import MAX_EPISODES, Purpose, evaluation_seeds
from residual_rl.tasks import TASKS, find_task
from residual_rl.tasks.task import Task
from residual_rl.train import Progress, Trial, diagnosis_so_far, train
from residual_rl.types import Measure
from residual_rl.verdict import Side, Verdict, judge, side_of


def improve(
    env: str,
    controller: Controller | str | None = None,
    *,
    steps: int = 100_000,
    seed: int = 0,
    out: str | Path | None = None,
    method: str = "rpl",
    preset: str = "default",
    num_threads: int | None = None,
    checkpoint_seconds: float = 30.0,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    tell: Callable[[str], None] = print,
    **fields: Any,
) -> Run:
    """Learns a residual over a controller, and judges whether it made the controller better.

    The work is kept in the directory `out`. Called again with the same arguments it goes on where it was stopped, and
    returns at once where it was finished.

    Args:
        env: a task's name or Gymnasium id; `residual-rl list` shows them.
        controller: `Observation[B] -> base_action [B, A]`, see `Controller` and `batched`; the name of one of `CONTROLLERS`,
            or of a table's `.npz` file; None for the task's own.
        steps: environment steps, base and burn-in included, evaluations excluded.
        seed: decides all chance of the run.
        out: the run's directory; None for `runs/<task>/<method>/seed-<seed>`.
        method: "rpl"; "scratch" to learn without the controller; "expert-explore" to learn from what the controller does.
        preset: "default" or "silver2018".
        num_threads: physics threads; None for one a core.
        checkpoint_seconds: what a kill may cost at most; a checkpoint is written at the end of the cycle after that.
        on_progress: called after each cycle.
        tell: is told, in a line, what was chosen because of what the controller is; see `train`.
        **fields: any other field of `Config`.

    Returns:
        The run; `run.verdict()` says what came of it.

    Raises:
        ResidualRLError: a name, value, controller or directory that cannot be used; the message says what would be right.
        Interrupted: SIGINT or SIGTERM arrived; a checkpoint was written.
    """
    task = find_task(env)
    if method == "scratch":
        if controller not in (None, "zero"):
            raise ResidualRLError("method 'scratch' learns without a controller; use method 'rpl' to improve one")
        controller = "zero"
    controller, name = resolve(controller, task, num_threads)
    fields = {"measured_by": task.measured_by} | fields
    config = make_config(preset, task=task.name, controller=name, method=method, steps=steps, seed=seed, **fields)
    if config.replay_capacity < config.episodes_per_cycle * task.spec.horizon:
        raise ResidualRLError(f"replay_capacity {config.replay_capacity} is less than one cycle of episodes")
    with Run(out or default_directory(config), config) as run:
        if isinstance(controller, TableController):
            run.save_table(controller.save)
        if not run.finished:
            train(config, task, controller, run, on_progress, num_threads, checkpoint_seconds, tell)
            run.finish(compare(run.path, task, controller, config.verdict_episodes, num_threads))
    return run


def load(path: str | Path, controller: Controller | str | None = None) -> Policy:
    """The policy that a run delivers: base plus residual if the verdict promoted it, else the base alone.

    Args:
        path: a finished run's directory. Nothing in it is executed.
        controller: the same that was improved; needed only where it is a callable of your own.

    Raises:
        RunError: the run is unfinished or damaged.
        ControllerError: the run's controller is not one of the library's, and none was given.
    """
    verdict = read_verdict(path)
    return _stored_policy(path, controller, promoted=verdict.promoted)


def export(path: str | Path, out: str | Path, *, onnx: bool = False) -> Exported:
    """Writes the policy of a finished run as a bundle that runs with NumPy alone, see `runtime`. No controller is in it.

    Args:
        path: the run's directory.
        out: the bundle's folder; must not be there yet, or be empty.
        onnx: also write the same function as ONNX; needs the `onnx` extra.

    Raises:
        RunError: the run is unfinished or damaged, or `out` cannot be written.
        ResidualRLError: ONNX was asked for and is not installed.
    """
    verdict = read_verdict(path)
    arrays, config, _ = read_policy(path)
    spec = find_task(config.task).spec
    residual = restore_residual(config.algorithm, spec, arrays, str(path))
    return write_bundle(Path(out), residual, spec, config, verdict, onnx)


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
        return TypeAdapter(Baseline).dump_python(self, mode="json")


def evaluate(
    target: str | Path,
    controller: Controller | str | None = None,
    *,
    episodes: int = 500,
    num_threads: int | None = None,
) -> Verdict | Baseline:
    """Evaluates on the verdict's initial states, which no training and no selection ever sees.

    Args:
        target: a run's directory: its selected policy is compared with its base. Or a task's name or Gymnasium id: the
            controller is evaluated alone.
        controller: as for `improve`; for a run it is needed only where it is a callable of your own.
        episodes: how many, of each.
        num_threads: physics threads; None for one a core.

    Raises:
        ResidualRLError: a name, run or controller that cannot be used.
    """
    if not 1 <= episodes <= MAX_EPISODES:
        raise ResidualRLError(f"episodes must be between 1 and {MAX_EPISODES}, not {episodes}")
    if Path(target).is_dir() and str(target) not in TASKS:
        task = find_task(read_config(target).task)
        return compare(Path(target), task, _controller_of(target, controller, task, num_threads), episodes, num_threads)
    task = find_task(str(target))
    controller, name = resolve(controller, task, num_threads)
    outcome = _base_outcome(task, controller, Composition(), episodes, num_threads)
    return Baseline(task.name, name, episodes, side_of(outcome), task.measured_by)


def diagnose(path: str | Path, controller: Controller | str | None = None) -> Diagnosis:
    """Why learning did not help, from measurements; of a run that is not finished as far as it has come.

    Args:
        path: the run's directory.
        controller: as for `improve`; where it is a callable of your own and not given, it is not asked anything.

    Raises:
        RunError: it is no run, it is damaged, or what would have to be looked at is not there.
    """
    kept = read_diagnosis(path)
    if kept is not None:
        return kept
    config = read_config(path)
    task = find_task(config.task)
    try:
        resolved = _controller_of(path, controller, task)
    except ControllerError:
        if controller is not None:
            raise
        resolved = Zero(task.spec.action_size)  # reads no goal, and so is never asked about one
    return diagnosis_so_far(Trial(config, task, resolved, Run(path, config)))


def compare(path: Path, task: Task, controller: Controller, episodes: int, num_threads: int | None) -> Verdict:
    """The verdict on a run's selected policy, from fresh initial states."""
    arrays, config, _ = read_policy(path)
    residual = restore_residual(config.algorithm, task.spec, arrays, str(path))
    composition = config.algorithm.composition
    base = _base_outcome(task, controller, composition, episodes, num_threads)
    both = base_plus_residual(controller, composition, residual, task.spec.action_size)
    with closing(evaluation_envs(task, episodes, num_threads, reads_state(controller))) as envs:
        policy = roll_out(envs, both, evaluation_seeds(Purpose.VERDICT, episodes))
    return judge(task.name, config.controller, base, policy, config.measured_by)


def default_directory(config: Config) -> Path:
    """Where a run goes if nobody says otherwise."""
    method = config.method if config.preset == "default" else f"{config.method}-{config.preset}"
    return Path("runs") / config.task / method / f"seed-{config.seed}"


def _base_outcome(
    task: Task, controller: Controller, composition: Composition, episodes: int, num_threads: int | None
) -> Outcome:
    act = base_alone(controller, composition, task.spec.action_size)
    with closing(evaluation_envs(task, episodes, num_threads, reads_state(controller))) as envs:
        return roll_out(envs, act, evaluation_seeds(Purpose.VERDICT, episodes))


def _stored_policy(path: str | Path, controller: Controller | str | None, promoted: bool) -> Policy:
    arrays, config, _ = read_policy(path)
    task = find_task(config.task)
    resolved = _controller_of(path, controller, task)
    residual = restore_residual(config.algorithm, task.spec, arrays, str(path)) if promoted else None
    return Policy(resolved, config.algorithm.composition, residual, task.spec)


def _controller_of(
    path: str | Path, controller: Controller | str | None, task: Task, num_threads: int | None = None
) -> Controller:
    """The controller that a run improves: the library's own, the table that the run keeps, or the one passed in.

    Raises:
        ControllerError: it is not one of the library's and none was passed, or another one was: a residual corrects the
            controller it was learned over, and no other.
    """
    wanted = read_config(path).controller
    if controller is None and (Path(path) / TABLE).exists():
        controller = str(Path(path) / TABLE)
    if controller is None:
        if wanted not in CONTROLLERS:
            raise ControllerError(f"{path} improves the controller {wanted!r}, which is yours: pass it as controller=...")
        controller = wanted
    resolved, name = resolve(controller, task, num_threads)
    if name != wanted:
        raise ControllerError(f"{path} improves the controller {wanted!r}, not {name!r}")
    return resolved


def resolve(controller: Controller | str | None, task: Task, num_threads: int | None) -> tuple[Controller, str]:
    """A controller and its name."""
    if controller is None:
        controller = task.default_controller
    if isinstance(controller, str):
        made = make_controller(controller, task.spec, num_threads)
        return made, name_of(made) if isinstance(made, TableController) else controller
    if not callable(controller):
        raise ControllerError(f"a controller is a callable or a name, not {type(controller).__name__}")
    name = name_of(controller)
    return controller, f"{type(controller).__module__}.{name}" if name in CONTROLLERS else name
