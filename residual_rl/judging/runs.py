"""Compare a run's policy with its base: for the verdict, once more afterwards, or before the run is finished."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from residual_rl import storage
from residual_rl.config import Config
from residual_rl.controllers import Controller, reads_state
from residual_rl.custom.inspection import same_environment
from residual_rl.custom.opened import Opened
from residual_rl.custom.sources import AnyEnv
from residual_rl.errors import RunError
from residual_rl.evaluation import evaluation_envs, judged_in
from residual_rl.judging.sequential import compare_in_turns
from residual_rl.policy import base_plus_residual, restore_residual
from residual_rl.runs.files import JUDGEMENTS, POLICY, VERDICT
from residual_rl.runs.first_look import check_same_environment
from residual_rl.runs.reading import (
    Judgement,
    judged_policies,
    judged_policy,
    read_config,
    read_judgements,
    read_policy,
    read_repeatability,
)
from residual_rl.runs.run import Run
from residual_rl.seeds import Purpose, evaluation_seeds
from residual_rl.tasks import find_task
from residual_rl.tasks.task import AnyTask
from residual_rl.training.experiment import base_of_run, described, encoder_of_run, environment_of_run
from residual_rl.verdict import Comparison, Verdict


class _Bench(NamedTuple):
    """The parts that are needed to compare a run's policy with its base."""

    task: AnyTask
    controller: Controller


@contextmanager
def opened_for(
    path: Path,
    controller: Any,
    env: AnyEnv | None,
    horizon: int | None,
    processes: bool,
    num_threads: int | None,
    encoder: Any = None,
) -> Iterator[_Bench]:
    """Yield a run's task and controller; close what was opened for them at the end.

    Raises:
        RunError: it is not a run, or its environment is user-supplied and was not passed, or is another one.
        ControllerError: the controller was not passed, or is another one.
    """
    about, config = described(path), read_config(path)
    seen_with = encoder_of_run(path, about, encoder, controller)
    if about is None:
        if env is not None:
            raise RunError(f"{path} was trained in the library's task {config.task!r}: env is not needed")
        task = find_task(config.task)
        yield _Bench(task, base_of_run(path, controller, task.spec, num_threads).controller)
        return
    env = environment_of_run(path, about) if env is None else env
    with closing(Opened(env, about.horizon if horizon is None else horizon, processes, seen_with)) as opened:
        same_environment(about, opened, path)
        check_same_environment(path, opened.few_lanes(), opened.name)
        base = base_of_run(path, controller, about.spec, encoder=seen_with)
        yield _Bench(opened.task(about, opened.fixed_lanes or config.episodes_per_cycle), base.controller)


def compare_run(
    path: Path,
    task: AnyTask,
    controller: Controller,
    episodes: int,
    num_threads: int | None,
    purpose: Purpose = Purpose.VERDICT,
    *,
    policy: str = POLICY,
    sequential: bool = False,
) -> Comparison:
    """Compare the policy in a run's file with its base, from the initial states of a purpose."""
    arrays, config, _ = read_policy(path, policy)
    residual = restore_residual(config.algorithm, task.spec, arrays, str(path))
    both = base_plus_residual(controller, residual, task.spec.action_size)
    seeds, repeats = evaluation_seeds(purpose, episodes), read_repeatability(path)
    task = judged_in(task, purpose)
    with closing(evaluation_envs(task, episodes, num_threads, reads_state(controller))) as envs:
        return compare_in_turns(
            task.name,
            config.controller,
            envs,
            both,
            seeds,
            config.measured_by,
            pairing="paired" if repeats is None else repeats.pairing,
            sequential=sequential,
            stops_if_alike=True,  # what has done nothing is not delivered, and a real plant wears out
        )


def verdict_of(config: Config, path: Path, task: AnyTask, controller: Controller, num_threads: int | None) -> Verdict:
    """Return the verdict, which decides whether a run's policy is promoted."""
    sequential = config.judging == "bench"
    return Verdict.on(compare_run(path, task, controller, config.verdict_episodes, num_threads, sequential=sequential))


def reevaluate(
    run: str | Path | Run,
    controller: Any = None,
    *,
    env: AnyEnv | None = None,
    encoder: Any = None,
    episodes: int = 500,
    horizon: int | None = None,
    processes: bool = False,
    num_threads: int | None = None,
    fresh: bool = False,
) -> Comparison:
    """Compare a run's selected policy with its base once more.

    The verdict decides once whether the policy is promoted; no later comparison changes it.

    Args:
        run: the run, or its directory.
        controller: as for `improve`; needed only if it is user-supplied.
        env: the environment of the run, if it is neither a task nor registered with Gymnasium under its id.
        encoder: as for `improve`; needed only if it is a Python callable.
        episodes: number for each of them.
        horizon: as for `improve`; None for the run's.
        processes: as for `improve`.
        num_threads: physics threads; None for one per core.
        fresh: whether to use initial states that the verdict did not use.

    Raises:
        RunError: it is not a run, it has no policy yet, or its environment was not passed.
        ControllerError: the controller was not passed, or is another one.
    """
    purpose = Purpose.CONFIRMATION if fresh else Purpose.VERDICT
    path = Path(run)
    with opened_for(path, controller, env, horizon, processes, num_threads, encoder) as (task, resolved):
        return compare_run(path, task, resolved, episodes, num_threads, purpose)


def judge(
    run: str | Path | Run,
    controller: Any = None,
    *,
    env: AnyEnv | None = None,
    encoder: Any = None,
    episodes: int | None = None,
    processes: bool = False,
    num_threads: int | None = None,
) -> Verdict:
    """Judge the policy that an unfinished run has selected so far.

    The initial states are used for nothing else, so the final verdict is not affected. The judgement is saved in the run, and
    `load(run, unfinished=True)` uses the latest one. Training can continue afterwards, or at the same time.

    Args:
        run: the run, or its directory.
        controller: as for `improve`; needed only if it is user-supplied.
        env: the environment of the run, if it is neither a task nor registered with Gymnasium under its id.
        encoder: as for `improve`; needed only if it is a Python callable.
        episodes: number for each of them; None for that of the final verdict.
        processes: as for `improve`.
        num_threads: physics threads; None for one per core.

    Raises:
        RunError: it is not a run, it is finished, it has no policy yet, or its environment was not passed.
        ControllerError: the controller was not passed, or is another one.
    """
    path = Path(run)
    config = read_config(path)
    if (path / VERDICT).exists():
        raise RunError(f"{path} is finished, and its verdict stands; `reevaluate` compares once more on other initial states")
    if not (path / POLICY).exists():
        raise RunError(f"{path} has no policy to judge yet: its first evaluation is still to come")
    content = (path / POLICY).read_bytes()  # training may replace the file meanwhile
    beside = path / judged_policy("next")
    storage.write_whole(beside, lambda file: file.write_bytes(content))
    _, _, step = read_policy(path, beside.name)
    with opened_for(path, controller, env, None, processes, num_threads, encoder) as (task, resolved):
        found = compare_run(
            path,
            task,
            resolved,
            config.verdict_episodes if episodes is None else episodes,
            num_threads,
            Purpose.INTERIM,
            policy=beside.name,
            sequential=config.judging == "bench",
        )
    judgements = [*read_judgements(path), Judgement(step, Verdict.on(found))]
    storage.write_whole(path / judged_policy(step), lambda file: file.write_bytes(content))
    storage.write_json(path / JUDGEMENTS, [storage.to_json(one) for one in judgements])
    for old in judged_policies(path):
        if old.name != judged_policy(step):
            old.unlink(missing_ok=True)
    return judgements[-1].verdict
