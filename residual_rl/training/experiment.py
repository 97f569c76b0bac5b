"""What a user's arguments amount to: the task, the controller, the configuration, and where the run is."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from residual_rl.config import Config
from residual_rl.controllers import CONTROLLERS, Controller, is_random, remembers, table
from residual_rl.controllers.resolve import controller_of
from residual_rl.custom.inspection import Description, adapted, description_from, look, same_environment
from residual_rl.custom.opened import Opened
from residual_rl.custom.sources import AnyEnv
from residual_rl.errors import ControllerError, ResidualRLError
from residual_rl.presets import make_config, pace, paced, unless_said
from residual_rl.runs.reading import ENVIRONMENT, TABLE, is_begun, read_config, read_environment
from residual_rl.tasks import find_task, is_task
from residual_rl.tasks.task import AnyTask, Task
from residual_rl.types import Spec

NOWHERE = Path("/dev/null")  # in which there is no run


class Setting(NamedTuple):
    """What is improved, and where."""

    task: AnyTask
    controller: Controller
    name: str
    """Of the controller."""
    config: Config
    description: Description | None
    """None for a task of the library."""


@contextmanager
def open_setting(
    env: AnyEnv,
    controller: Any,
    said: dict[str, Any],
    horizon: int | None,
    processes: bool,
    num_threads: int | None,
    tell: Callable[[str], None],
    directory: Path | None,
) -> Iterator[Setting]:
    """What a user's arguments amount to. What was opened for it is closed in the end.

    What the directory says of the environment, if it is a run already, is taken as it is.
    """
    if isinstance(env, str) and is_task(env):
        if horizon is not None or processes:
            raise ResidualRLError(f"horizon and processes are for environments of your own; {env!r} is a task of the library")
        task = find_task(env)
        controller, name = resolve(controller, task, num_threads)
        forced = _shown_base(controller) | ({} if task.spec.goal_size else {"hindsight.relabel_ratio": 0.0})
        config = unless_said(_config(said, task.name, name, forced), {"measured_by": task.measured_by}, said)
        config = paced(config, task, said)
        yield Setting(task, controller, name, config, None)
        return
    with closing(Opened(env, horizon, processes)) as opened:
        if controller is None:
            raise ControllerError(
                f"{opened.name} comes without a controller that could be improved: pass controller=..., on the command line "
                "--controller FILE, a table's .npz or a network's .onnx"
            )
        directory = directory or _directory(opened.name, said["method"], said["preset"], said["seed"])
        controller, name = controller_of(controller, opened.spec, num_threads)
        about = described(directory) if is_begun(directory) else None
        if about is None:
            about = look(opened, controller, tell)
        else:
            same_environment(about, opened, directory)
        controller = adapted(controller, opened.layout, about.character)
        own = pace(about.findings.episode_steps, opened.fixed_lanes, said["preset"]) | {
            "measured_by": about.findings.measured_by
        }
        forced = _shown_base(controller)
        if about.findings.goal_rules is None:
            forced["hindsight.relabel_ratio"] = 0.0
        config = unless_said(_config(said, opened.name, name, forced), own, said)
        if about.findings.goal_rules is None and config.hindsight.relabel_ratio > 0.0:
            raise ResidualRLError(
                f"hindsight.relabel_ratio is {config.hindsight.relabel_ratio:g}, but {opened.name} cannot be asked what "
                "another goal would have been worth: it must be 0"
            )
        yield Setting(opened.task(about.findings, config.episodes_per_cycle), controller, name, config, about)


def _shown_base(controller: Controller) -> dict[str, Any]:
    """The residual sees what cannot be known from the observation: what a random or remembering controller proposed."""
    hidden = remembers(controller) or is_random(controller)
    return {"algorithm.composition.actor_sees_base": True} if hidden else {}


def _config(said: dict[str, Any], task: str, controller: str, follows: dict[str, Any]) -> Config:
    """The configuration: what the user said goes before what follows from the controller.

    What follows goes into a part that was said as a whole, such as `hindsight=Hindsight(...)`, all the same.
    """
    return make_config(**{"task": task, "controller": controller, **follows, **said})


def described(path: str | Path) -> Description | None:
    """What a run keeps of the environment that was brought; None for a task of the library, or where there is no run yet.

    Raises:
        RunError: it is damaged.
    """
    values = read_environment(path)
    return None if values is None else description_from(values, str(Path(path) / ENVIRONMENT))


def resolve(controller: Any, task: Task, num_threads: int | None) -> tuple[Controller, str]:
    """A controller for a task of the library, and its name."""
    return controller_of(task.default_controller if controller is None else controller, task.spec, num_threads)


def controller_of_run(path: str | Path, controller: Any, spec: Spec, num_threads: int | None = None) -> Any:
    """The controller that a run improves: the library's own, the table that the run keeps, or the one passed in.

    Raises:
        ControllerError: it is not one of the library's and none was passed, or another one was: a residual corrects the
            controller it was learned over, and no other.
    """
    wanted = read_config(path).controller
    if controller is None and wanted.startswith(table.NAME) and (Path(path) / TABLE).exists():
        controller = str(Path(path) / TABLE)
    if controller is None:
        if wanted not in CONTROLLERS:
            raise ControllerError(f"{path} improves the controller {wanted!r}, which is yours: pass it as controller=...")
        controller = wanted
    resolved, name = controller_of(controller, spec, num_threads)
    if name != wanted:
        raise ControllerError(f"{path} improves the controller {wanted!r}, not {name!r}")
    return resolved


def default_directory(config: Config) -> Path:
    """Where a run goes if nobody says otherwise."""
    return _directory(config.task, config.method, config.preset, config.seed)


def _directory(task: str, method: str, preset: str, seed: int) -> Path:
    return Path("runs") / task / (method if preset == "default" else f"{method}-{preset}") / f"seed-{seed}"
