"""Clone a base from demonstrations: train, choose by held-out episodes, evaluate in the environment."""

import math
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError
from pydantic.dataclasses import dataclass

from residual_rl.clones.artefact import ImageClone, VectorClone, clone_of
from residual_rl.clones.samples import read_samples
from residual_rl.clones.settings import Cloning, form_of
from residual_rl.clones.training import CHECKPOINT, Epoch, train_network
from residual_rl.controllers.artefacts import from_folder
from residual_rl.custom.opened import Opened
from residual_rl.custom.sources import AnyEnv
from residual_rl.demonstrations.checking import check_match
from residual_rl.demonstrations.episodes import Demonstrations
from residual_rl.demonstrations.sources import open_demonstrations
from residual_rl.errors import DemonstrationError, ResidualRLError
from residual_rl.evaluation import base_outcome
from residual_rl.imitation.recording import spaces_of
from residual_rl.progress.reporter import Tell
from residual_rl.residual import Composition
from residual_rl.runs.run import save_artefact
from residual_rl.seeds import Purpose
from residual_rl.storage import acquire, explained, make_directory, read_json, record_of, to_json, write_json, write_whole
from residual_rl.tasks import find_task, is_task
from residual_rl.training.experiment import Request, open_experiment
from residual_rl.verdict import Side, side_of

RESULT = "cloning.json"
TABLE = "epochs.csv"
OnEpoch = Callable[[Epoch, int], None]


@dataclass(frozen=True)
class Cloned:
    """The result of cloning, as `cloning.json` holds it."""

    settings: Cloning
    demonstrations: int
    steps: int
    held_out_episodes: tuple[int, ...]
    chosen_epoch: int
    held_out_loss: float
    environment: str = ""
    """Empty if it was not evaluated."""
    episodes: int = 0
    measured: Side | None = None
    """On initial states that neither training nor a verdict uses."""

    def __str__(self) -> str:
        learned = f"epoch {self.chosen_epoch + 1} of {self.settings.epochs}, held-out loss {self.held_out_loss:.3g}"
        if self.measured is None:
            return f"{learned}; not evaluated"
        low, high = self.measured.interval
        return (
            f"{learned}; success {self.measured.success_rate:.3f} ({low:.3f} to {high:.3f}) in {self.episodes} episodes of "
            f"{self.environment}"
        )


def clone(
    demonstrations: Any,
    *,
    out: str | Path,
    env: AnyEnv | None = None,
    evaluation_episodes: int = 100,
    horizon: int | None = None,
    success: str = "last",
    rate: float | None = None,
    frames: int | None = None,
    rename: dict[str, str] | None = None,
    num_threads: int | None = None,
    tell: Tell = print,
    on_epoch: OnEpoch = lambda epoch, of: None,
    **settings: Any,
) -> VectorClone | ImageClone:
    """Clone a base from demonstrations. Called again with the same arguments, it resumes, or returns at once if it is finished.

    Args:
        demonstrations: a folder of Minari's or LeRobot's format, robomimic's `.hdf5`, a `MinariDataset`, or episodes in memory,
            see `demonstrations.sources.open_demonstrations`.
        out: the folder of the clone; `improve(env, clone)` and `--controller OUT` use it.
        env: where it is to act, as for `improve`; None for the environment that the demonstrations name. What must match (keys,
            shapes, types, bounds of actions, rate) is checked before training. Without any, nothing is checked or evaluated.
        evaluation_episodes: of the clone in the environment; 0 for none.
        horizon: as for `improve`.
        success: as for `improve`.
        rate: steps per second in Hz at which the environment acts, to be compared with that of the demonstrations.
        frames: how many frames the environment stacks in an image; None for what the demonstrations say.
        rename: entries of the environment by LeRobot's features or robomimic's keys.
        num_threads: physics threads.
        tell: called with lines about what happens.
        on_epoch: called with each epoch, and their number.
        **settings: fields of `Cloning`.

    Returns:
        The clone, a controller; of images also an `encoder`, which runs once for both.

    Raises:
        DemonstrationError: they cannot be read, or do not match the environment; names what differs.
        Interrupted: SIGINT or SIGTERM arrived; a checkpoint was written.
    """
    say = tell or (lambda line: None)
    try:
        chosen = Cloning(**settings)
    except (ValidationError, TypeError) as error:
        reason = explained(error) if isinstance(error, ValidationError) else str(error)
        raise DemonstrationError(f"settings of cloning: {reason}") from None
    found = open_demonstrations(demonstrations, rename, **({} if frames is None else {"frames": frames}))
    env = env if env is not None else _known(found.about.environment, say)
    if rate is not None and found.about.rate is not None and not math.isclose(rate, found.about.rate, rel_tol=1e-3):
        raise DemonstrationError(f"the demonstrations have {found.about.rate:g} steps a second, the environment {rate:g}")
    if env is not None:
        found = _checked(found, env, horizon)
    out = Path(out)
    make_directory(out)
    with acquire(FileLock(out / ".lock"), out):
        if (out / RESULT).exists():
            return _finished(out, chosen, found, say)
        form = form_of(found.about, chosen)
        samples = read_samples(found, form, chosen, say)
        rows: list[Epoch] = []

        def after(row: Epoch) -> None:
            rows.append(row)
            on_epoch(row, chosen.epochs)

        trained = train_network(samples, form, chosen, out, after)
        made = clone_of(trained.network, samples.scales, form)
        save_artefact(out, made, prepared=False)
        write_whole(out / TABLE, lambda path: path.write_text(_table(rows)))
        best = trained.chosen
        result: dict[str, Any] = {"episodes": 0}
        if env is not None and evaluation_episodes:
            name, side = measure(env, made, evaluation_episodes, horizon, success, num_threads, say)
            result = {"environment": name, "episodes": evaluation_episodes, "measured": side}
        steps = len(samples.actions)
        cloned = Cloned(chosen, len(found), steps, samples.held_out_episodes, best.epoch, best.held_out_loss, **result)
        write_json(out / RESULT, to_json(cloned) | {"digest": samples.digest})
        (out / CHECKPOINT).unlink(missing_ok=True)
        say(str(cloned))
    return made


def _finished(out: Path, chosen: Cloning, found: Demonstrations, say: Callable[[str], None]) -> Any:
    cloned = read_cloned(out)
    if cloned.settings != chosen or cloned.demonstrations != len(found):
        raise DemonstrationError(f"{out} holds a clone of other demonstrations or with other settings: choose another folder")
    say(f"{out} is finished: {cloned}")
    return from_folder(out)


def read_cloned(out: Path) -> Cloned:
    """Return the result of a finished cloning.

    Raises:
        RunError: there is none, or it is damaged.
    """
    values = read_json(out / RESULT, "the clone is not finished")
    return record_of(Cloned, {name: value for name, value in values.items() if name != "digest"}, out / RESULT)


def measure(
    env: AnyEnv,
    controller: Any,
    episodes: int,
    horizon: int | None,
    success: str,
    num_threads: int | None,
    say: Callable[[str], None],
) -> tuple[str, Side]:
    """Return the environment's name, and how well a controller does there, on states that no training or verdict uses."""
    given = {"method": "rpl", "preset": "default", "seed": 0}
    request = Request(controller, given, num_threads, say, None, writes=False)
    with open_experiment(env, request, horizon, False, success) as experiment:
        task = experiment.task
        outcome = base_outcome(task, experiment.controller, Composition(), episodes, num_threads, Purpose.TUNING)
    return task.name, side_of(outcome)


def _known(environment: str, say: Callable[[str], None]) -> str | None:
    """Return the environment that demonstrations name, if it can be made here."""
    if not environment:
        say("the demonstrations name no environment: pass env=... to check and to evaluate the clone")
        return None
    try:
        if not is_task(environment):
            with closing(Opened(environment)):
                pass
    except ResidualRLError as error:
        say(
            f"{environment!r}, which the demonstrations name, cannot be made: {error}. The clone is not evaluated; pass env=..."
        )
        return None
    return environment


def _checked(found: Demonstrations, env: AnyEnv, horizon: int | None) -> Demonstrations:
    """Check keys, shapes, types and bounds against an environment; its bounds are those of actions from then on."""
    if isinstance(env, str) and is_task(env):
        envs = find_task(env).make_envs(1, num_threads=1)
        with closing(envs):
            action_space: Any = envs.single_action_space
            check_match(found.about, envs.single_observation_space, action_space, env)
        return found.described(action_space=action_space)
    with closing(Opened(env, horizon)) as opened:
        shown, own = spaces_of(opened.layout)
        check_match(found.about, shown, own, opened.name)
    return found.described(action_space=own)


def _table(rows: list[Epoch]) -> str:
    lines = [",".join(Epoch._fields)]
    lines += [f"{row.epoch},{row.loss:.6g},{row.held_out_loss:.6g},{row.seconds:.3f}" for row in rows]
    return "\n".join(lines) + "\n"
