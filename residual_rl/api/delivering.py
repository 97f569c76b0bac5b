"""What is there after learning: `load` or `export` the policy of a run, or `diagnose` why there was no gain."""

from contextlib import closing
from pathlib import Path
from typing import Any

from residual_rl.bundles.bundle import Exported, write_bundle
from residual_rl.config import Config
from residual_rl.controllers import Zero
from residual_rl.controllers.resolve import resolve
from residual_rl.custom.description import Description
from residual_rl.custom.inspection import same_environment
from residual_rl.custom.opened import Opened
from residual_rl.custom.sources import AnyEnv
from residual_rl.diagnosis.diagnosis import Diagnosis
from residual_rl.errors import ControllerError, ResidualRLError, RunError
from residual_rl.policy import Policy, restore_residual
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
from residual_rl.tasks import find_task, spec_of
from residual_rl.training.experiment import (
    Experiment,
    base_of_run,
    described,
    encoder_of_run,
    environment_of_run,
)
from residual_rl.training.train import diagnosis_so_far
from residual_rl.types import Spec


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
    residual = restore_residual(config.algorithm, spec, arrays, str(path)) if promoted else None
    try:
        base = base_of_run(path, controller, spec, encoder=seen_with).controller
    except ControllerError:
        if controller is not None or residual is None or not config.algorithm.composition.stands_alone:
            raise
        base = None
    return Policy(base, config.algorithm.composition, residual, spec, about and about.layout, seen_with)
