"""What a user's arguments amount to: the task, the controller, the configuration, and where the run is."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from residual_rl.config import Config
from residual_rl.controllers import CONTROLLERS, Controller, is_random, remembers, table
from residual_rl.controllers.resolve import controller_of
from residual_rl.custom.description import Description, description_from
from residual_rl.custom.inspection import adapted, look, same_environment
from residual_rl.custom.making import gymnasium_maker
from residual_rl.custom.opened import Opened
from residual_rl.custom.sources import AnyEnv
from residual_rl.custom.success import LAST, checked
from residual_rl.errors import ControllerError, ResidualRLError, RunError, UnknownName
from residual_rl.presets import bench_pace, make_config, pace, paced, unless_said
from residual_rl.runs.reading import ENVIRONMENT, TABLE, is_begun, read_config, read_environment
from residual_rl.tasks import check_worlds, find_task, is_task
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
    success: str = LAST,
    learns: bool = True,
) -> Iterator[Setting]:
    """What a user's arguments amount to. What was opened for it is closed in the end.

    What the directory says of the environment, if it is a run already, is taken as it is. `learns`: whether a residual will be
    learned, and not only the controller evaluated.
    """
    success = checked(success)
    if isinstance(env, str) and is_task(env):
        if horizon is not None or processes or success != LAST:
            raise ResidualRLError(
                f"horizon, success and processes are for environments of your own; {env!r} is a task of the library"
            )
        check_worlds()
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
                f"{opened.name} has no controller of its own: pass controller=..., on the command line --controller FILE, a "
                "table's .npz or a network's .onnx"
            )
        directory = directory or _directory(opened.name, said["method"], said["preset"], said["seed"])
        controller, name = controller_of(controller, opened.spec, num_threads)
        about = described(directory) if is_begun(directory) else None
        if about is None:
            composition = _config(said, opened.name, name, {}).algorithm.composition if learns else None
            about = look(opened, controller, tell, success, composition)
        else:
            same_environment(about, opened, directory, success)
        controller = adapted(controller, about.layout, about.character)
        own = pace(about.findings.episode_steps, opened.fixed_lanes, said["preset"], said.get("steps", Config.steps)) | {
            "measured_by": about.findings.measured_by
        }
        if said.get("judging") == "bench":
            own |= bench_pace(said.get("steps", Config.steps))
        forced = _shown_base(controller)
        if about.findings.goal_rules is None:
            forced["hindsight.relabel_ratio"] = 0.0
        config = unless_said(_config(said, opened.name, name, forced), own, said)
        if about.findings.goal_rules is None and config.hindsight.relabel_ratio > 0.0:
            raise ResidualRLError(
                f"hindsight.relabel_ratio is {config.hindsight.relabel_ratio:g}, but {opened.name} cannot be asked what "
                "another goal would have been worth: it must be 0"
            )
        yield Setting(opened.task(about, config.episodes_per_cycle), controller, name, config, about)


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


def environment_of_run(path: str | Path, about: Description) -> str:
    """The Gymnasium id of the environment in which a run was trained.

    Raises:
        RunError: no environment is registered under its name.
    """
    try:
        gymnasium_maker(about.task)
    except UnknownName:
        raise RunError(
            f"{path} was trained in {about.task!r}, and no environment is registered under that id: pass it as env=..., on the "
            "command line --env MODULE:ID"
        ) from None
    return about.task


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
            raise ControllerError(
                f"{path} improves the controller {wanted!r}, which the run directory does not hold: pass it as controller=..., "
                "on the command line --controller FILE"
            )
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
