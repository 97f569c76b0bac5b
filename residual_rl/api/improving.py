"""Learn a residual over a controller: `improve`, and the configuration with which it would run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from residual_rl.api.evaluating import check_counts
from residual_rl.config import Config, to_json
from residual_rl.custom.sources import AnyEnv
from residual_rl.errors import ResidualRLError
from residual_rl.judging.runs import verdict_of
from residual_rl.progress.metric_log import open_log
from residual_rl.progress.reporter import Progress, Reporter, Tell, reporter_of
from residual_rl.runs.run import Run
from residual_rl.training.experiment import (
    Experiment,
    Request,
    open_experiment,
)
from residual_rl.training.train import train


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
        **fields: any other field of `Config`; one of a part by its path, `**{"algorithm.pessimism": 0.5}`. Fields not given
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
    check_counts(horizon=horizon, num_threads=num_threads)
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
