"""Resolve a user's arguments into one record: task, base, configuration and the run's directory."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from residual_rl.config import Config
from residual_rl.controllers import CONTROLLERS, Controller
from residual_rl.controllers.artefacts import ARTEFACTS, Prepared, from_folder
from residual_rl.controllers.resolve import Base, for_lanes, of_artefact, on_features, prepared_called, resolve
from residual_rl.custom.description import Description, Findings, description_from
from residual_rl.custom.inspection import look, same_environment
from residual_rl.custom.making import gymnasium_maker
from residual_rl.custom.opened import Opened
from residual_rl.custom.sources import AnyEnv
from residual_rl.custom.success import LAST, checked
from residual_rl.encoders.encoder import ENCODERS, Encoder, load_encoder, resolve_encoder, shares_body
from residual_rl.encoders.perception import Perception
from residual_rl.errors import ControllerError, ResidualRLError, RunError, UnknownName
from residual_rl.presets import bench_pace, make_config, pace, paced, unless_given
from residual_rl.runs.files import BASE, ENCODER, ENVIRONMENT
from residual_rl.runs.first_look import (
    FirstLook,
    check_same_base,
    check_same_encoder,
    check_same_environment,
    take_first_look,
)
from residual_rl.runs.reading import is_begun, read_config, read_environment, read_kept_base, read_kept_encoder
from residual_rl.runs.run import Run
from residual_rl.tasks import check_worlds, find_task, is_task
from residual_rl.tasks.task import AnyTask, Task
from residual_rl.training.preparation import load_prepared, prepare, prepared_name, read_preparation
from residual_rl.types import Spec


@dataclass(frozen=True)
class Experiment:
    """A task, the base to improve, the configuration, and the run."""

    config: Config
    task: AnyTask
    base: Base
    run: Run
    """Enter it (`with run:`) before writing to it."""
    description: Description | None = None
    """Of a user-supplied environment."""
    first_look: FirstLook | None = None
    """Of a run that has not begun."""
    steps_prepared: int = 0
    """Environment steps that the preparation of the base took."""
    seconds_prepared: float = 0.0
    encoder: Encoder | None = None
    """What makes features of what the environment shows."""

    @property
    def controller(self) -> Controller:
        """The base's controller."""
        return self.base.controller

    @property
    def longest_cycle(self) -> int:
        """Environment steps of a cycle, if no episode ends before the horizon."""
        return self.config.episodes_per_cycle * self.task.spec.horizon

    @property
    def burn_in_steps(self) -> int:
        """Environment steps of the shortest burn-in, for episodes of the base's mean length."""
        cycle_steps = self.config.episodes_per_cycle * self.task.episode_steps
        return round(self.config.algorithm.burn_in.least_cycles * cycle_steps)

    def is_over(self, step: int) -> bool:
        """Return whether the budget is spent; it pays for whole cycles."""
        return step >= self.config.steps

    @property
    def requeries_base(self) -> bool:
        """Whether hindsight re-queries the controller at the new goals."""
        return self._should_requery and self.base.traits.can_be_requeried

    @property
    def keeps_base_actions(self) -> bool:
        """Whether hindsight has to keep the recorded base actions because the controller cannot be re-queried."""
        return self._should_requery and not self.base.traits.can_be_requeried

    @property
    def _should_requery(self) -> bool:
        return self.config.algorithm.composition.relabel == "ask" and self.base.traits.reads_goal

    def begin(self) -> None:
        """Save the base and the environment's description in the run, which must be entered."""
        if self.base.artefact is not None and not self.steps_prepared:
            self.run.save_base(self.base.artefact)
        if self.encoder is not None and self.encoder.artefact is not None:
            self.run.save_encoder(self.encoder.artefact)
        if self.description is not None:
            self.run.save_environment(self.description.to_json())
        if self.first_look is not None:
            self.run.save_first_look(self.first_look)


@dataclass(frozen=True)
class Request:
    """The part of a user's arguments that does not depend on the kind of environment."""

    controller: Any
    fields: dict[str, Any]
    """Fields of `Config`, as they were passed."""
    num_threads: int | None
    tell: Callable[[str], None]
    directory: Path | None
    """Of the run, if the user named one."""
    writes: bool = True
    """Whether there is a run at all."""
    encoder: Any = None
    """As it was passed."""

    @property
    def stored(self) -> int:
        """How many transitions a run stores at most."""
        if not self.writes:
            return 0
        capacity, steps = (int(self.fields.get(name, getattr(Config, name))) for name in ("replay_capacity", "steps"))
        return min(capacity, steps)

    def path(self, task: str) -> Path:
        """Return the run's directory."""
        return self.directory or _directory(task, self.fields["method"], self.fields["preset"], self.fields["seed"])


@contextmanager
def open_experiment(
    env: AnyEnv, request: Request, horizon: int | None, processes: bool, success: str = LAST
) -> Iterator[Experiment]:
    """Yield the experiment that a user's arguments describe; close what was opened for it at the end."""
    success = checked(success)
    request = replace(request, controller=from_folder(request.controller))
    if isinstance(env, str) and is_task(env):
        if horizon is not None or processes or success != LAST:
            raise ResidualRLError(
                f"horizon, success and processes are for environments of your own; {env!r} is a task of the library"
            )
        if request.encoder is not None:
            raise ResidualRLError(f"encoder is for environments of your own; {env!r}, a task of the library, shows vectors")
        check_worlds()
        yield library_experiment(find_task(env), request)
        return
    encoder = resolve_encoder(request.encoder, request.controller)
    with closing(Opened(env, horizon, processes, encoder, request.stored)) as opened:
        yield custom_experiment(opened, request, success)


def library_experiment(task: Task, request: Request) -> Experiment:
    """Return the experiment in a task of the library."""
    request = replace(request, controller=prepared_called(request.controller, task.spec))
    path, fields = request.path(task.name), request.fields
    controller = task.default_controller if request.controller is None else request.controller
    base = for_lanes(_base(controller, task, task.spec, path, request))
    config = _config(fields, task, base, {} if task.spec.goal_size else {"hindsight.relabel_ratio": 0.0})
    config = paced(unless_given(config, {"measured_by": task.measured_by}, fields), task, fields)
    first_look = None
    if request.writes and base.is_users:
        if is_begun(path):
            check_same_base(path, base.controller, base.name, task.spec.action_size)
        elif not base.traits.reads_state:
            with closing(task.open_lanes(num_threads=request.num_threads)) as envs:
                first_look = take_first_look(envs, base.controller, with_environment=False)
    return Experiment(config, task, base, Run(path, config), None, first_look, *_read_preparation_cost(path, request))


def custom_experiment(opened: Opened, request: Request, success: str) -> Experiment:
    """Return the experiment in a user-supplied environment.

    If the directory is a run already, use the description of the environment that it holds.
    """
    if request.controller is None:
        raise ControllerError(
            f"{opened.name} has no controller of its own: pass controller=..., on the command line --controller FILE, a "
            "table's .npz or a network's .onnx"
        )
    path, fields = request.path(opened.name), request.fields
    base = opened.seen_by(_base(request.controller, opened, opened.spec, path, request))
    about = described(path) if request.writes and is_begun(path) else None
    first_look = None
    if about is None:
        composition = _config(fields, opened, base, {}).algorithm.composition if request.writes else None
        about = look(opened, base, request.tell, success, composition)
        if request.writes:
            # In the environment's own units, like everything before the description.
            first_look = take_first_look(opened.few_lanes(), base.fitted(opened.layout, about.character).controller)
    else:
        check_encoder(path, about, opened.encoder)
        same_environment(about, opened, path, success)
        check_same_environment(path, opened.few_lanes(), opened.name)
        if base.is_users:
            controller = base.fitted(opened.layout, about.character).controller
            check_same_base(path, controller, base.name, opened.layout.action_size)
    base = base.fitted(about.layout, about.character)
    steps = fields.get("steps", Config.steps)
    own = pace(about.findings.episode_steps, opened.fixed_lanes, fields["preset"], steps)
    own |= {"measured_by": about.findings.measured_by}
    if fields.get("judging") == "bench":
        own |= bench_pace(steps)
    forced = {"hindsight.relabel_ratio": 0.0} if about.findings.goal_rules is None else {}
    config = unless_given(_config(fields, opened, base, forced), own, fields)
    if about.findings.goal_rules is None and config.hindsight.relabel_ratio > 0.0:
        raise ResidualRLError(
            f"hindsight.relabel_ratio is {config.hindsight.relabel_ratio:g}, but {opened.name} cannot be asked what "
            "another goal would have been worth: it must be 0"
        )
    task = opened.task(about, config.episodes_per_cycle)
    prepared = _read_preparation_cost(path, request)
    return Experiment(config, task, base, Run(path, config), about, first_look, *prepared, encoder=opened.encoder)


def _base(controller: Any, where: Task | Opened, spec: Spec, path: Path, request: Request) -> Base:
    """Return the base; prepare it first if it needs preparation."""
    if not (isinstance(controller, Prepared) and request.writes):
        return resolve(controller, spec, request.num_threads)
    # Before any step is spent, so that a wrong field is refused now.
    make_config(**{"task": where.name, "controller": prepared_name(controller), **request.fields})
    task: AnyTask = where if isinstance(where, Task) else unexplored(where)
    return prepare(controller, task, int(request.fields["steps"]), int(request.fields["seed"]), path)


def unexplored(opened: Opened) -> AnyTask:
    """Return the task of an environment that was not inspected yet: rewards are unchanged."""
    horizon = opened.spec.horizon
    findings = Findings("return", 1.0, sparse=False, episode_steps=float(horizon), goal_rules=None)
    return opened.task(Description(opened.name, opened.layout, horizon, findings, None), opened.fixed_lanes or 1)


def _read_preparation_cost(path: Path, request: Request) -> tuple[int, float]:
    """Return the environment steps and seconds that a preparation of the base has taken."""
    progress = read_preparation(path) if request.writes and isinstance(request.controller, Prepared) else None
    return (0, 0.0) if progress is None else (progress.steps, progress.wall_seconds)


def _config(fields: dict[str, Any], where: Task | Opened, base: Base, follows: dict[str, Any]) -> Config:
    """Return the configuration: the user's fields take precedence over those that follow from the controller.

    Those that follow also go into a part that was passed as a whole, such as `hindsight=Hindsight(...)`. If the controller is
    stochastic or stateful, its proposal does not follow from the observation, so it becomes an input of the actor.
    """
    values = {"task": where.name, "controller": base.name, **follows, **fields}
    config = make_config(**values)
    if base.traits.is_hidden and not config.algorithm.composition.stands_alone:
        config = make_config(**{"algorithm.composition.actor_sees_base": True, **values})
    scale, size = config.algorithm.composition.scale, where.spec.action_size
    if isinstance(scale, tuple) and len(scale) != size:
        raise ResidualRLError(
            f"algorithm.composition.scale has {len(scale)} entries, {scale}, but an action of {where.name} has {size}"
        )
    return config


def described(path: str | Path) -> Description | None:
    """Return a run's description of its user-supplied environment; None for a task of the library, or if there is no run yet.

    Raises:
        RunError: it is damaged.
    """
    values = read_environment(path)
    return None if values is None else description_from(values, str(Path(path) / ENVIRONMENT))


def environment_of_run(path: str | Path, about: Description) -> str:
    """Return the Gymnasium id of the environment in which a run was trained.

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


def encoder_of_run(path: str | Path, about: Description | None, encoder: Any, controller: Any) -> Encoder | None:
    """Return the encoder of a run: the one it keeps, or the one passed. None if the learner sees what the environment shows.

    Raises:
        RunError: the run keeps none and none was passed, or another one was.
        EncoderError: it cannot be used.
    """
    if about is None or about.layout.encoded is None:
        if encoder is not None:
            raise RunError(f"{path} was trained without an encoder")
        return None
    found, kept = resolve_encoder(encoder, from_folder(controller)), read_kept_encoder(path)
    if found is None and kept is not None and kept.kind in ENCODERS:
        found = resolve_encoder(load_encoder(Path(path) / ENCODER))
    if found is None:
        raise RunError(
            f"{path} was trained with the encoder {about.layout.encoded.encoder!r}, which the run directory does not hold: "
            "pass it as encoder=..."
        )
    check_encoder(path, about, found)
    return found


def check_encoder(path: str | Path, about: Description, encoder: Encoder | None) -> None:
    """Check that an encoder is the one that a run was trained with.

    Raises:
        RunError: it is another one.
    """
    wanted = about.layout.encoded and about.layout.encoded.encoder
    if wanted != (encoder and encoder.name):
        raise RunError(f"{path} was trained with the encoder {wanted!r}, not {encoder and encoder.name!r}")
    if encoder is None:
        return
    kept = read_kept_encoder(path)
    if kept is not None and (encoder.artefact is None or encoder.artefact.digest != kept.digest):
        raise RunError(f"{path} was trained with an encoder {wanted!r} that has other weights: pass none, or that one")
    check_same_encoder(path, Perception(replace(about.layout, units=None), encoder))


def base_of_run(
    path: str | Path, controller: Any, spec: Spec, num_threads: int | None = None, encoder: Encoder | None = None
) -> Base:
    """Return the base that a run improves, in the library's units: a built-in one, the one the run keeps, or the one passed.

    Raises:
        ControllerError: it is not one of the library's and none was passed, or another one was, also of the same name: a
            residual corrects the controller it was learned over, and no other.
    """
    wanted, about, kept = read_config(path).controller, described(path), read_kept_base(path)
    if isinstance(controller, Prepared):
        base = load_prepared(controller, path)
    elif controller is None and kept is not None:
        if kept.kind not in ARTEFACTS:
            raise ControllerError(f"{path} improves {wanted!r}, a {kept.kind} of yours: pass what made it as controller=...")
        artefact = ARTEFACTS[kept.kind].load(Path(path) / BASE)
        if artefact.digest != kept.digest:
            raise ControllerError(f"the base in {path} is damaged: it is not what was saved")
        base = of_artefact(artefact, wanted if kept.prepared else "", in_environments_units=not kept.prepared)
    elif controller is None and wanted not in CONTROLLERS:
        raise ControllerError(
            f"{path} improves the controller {wanted!r}, which the run directory does not hold: pass it as controller=..., "
            "on the command line --controller FILE"
        )
    else:
        base = resolve(wanted if controller is None else controller, spec, num_threads)
    if base.name != wanted:
        raise ControllerError(f"{path} improves the controller {wanted!r}, not {base.name!r}")
    if about is None:
        base = for_lanes(base)
        asked = base
    else:
        base = on_features(base) if shares_body(base.controller, encoder) else base
        asked, base = (base.fitted(layout, about.character) for layout in (replace(about.layout, units=None), about.layout))
    if base.is_users:
        check_same_base(path, asked.controller, base.name, spec.action_size)
    return base


def _directory(task: str, method: str, preset: str, seed: int) -> Path:
    if ":" in task:  # `complex-hook:/path/to/meshes`, `racing:tracks`: one folder, which Windows can have too
        task = re.sub(r"[^\w.-]+", "-", task).strip("-")
    return Path("runs") / task / (method if preset == "default" else f"{method}-{preset}") / f"seed-{seed}"
