"""The commands around a run: train, evaluate, diagnose, report."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from residual_rl.cli.comparisons import means_run
from residual_rl.cli.console import (
    Base,
    Env,
    Horizon,
    Json,
    Method,
    Preset,
    Seed,
    Set,
    Success,
    Threads,
    complaints,
    console,
    given,
    settings,
    show,
    tell,
)
from residual_rl.errors import ResidualRLError, UnknownName

COLORS = {"sound": "green", "warning": "yellow", "unknown": "dim"}


def train(
    task: Annotated[str, typer.Argument(help="A task's name, see `residual-rl list`, or any Gymnasium id.")],
    method: Method = "rpl",
    preset: Preset = "default",
    controller: Base = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps; evaluations and the verdict come on top.")] = 100_000,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="The run directory.", show_default="runs/TASK/METHOD[-PRESET]/seed-SEED")
    ] = None,
    evaluation_interval: Annotated[
        int | None,
        typer.Option(min=1, help="Steps between evaluations.", show_default="5000, more if evaluations would cost too much"),
    ] = None,
    evaluation_episodes: Annotated[
        int | None,
        typer.Option(min=1, help="Episodes per evaluation.", show_default="100, fewer if evaluations would cost too much"),
    ] = None,
    horizon: Horizon = None,
    success: Success = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="A saved network that turns images into features: an .onnx file, or a saved encoder's folder."),
    ] = None,
    set_: Set = None,
    log: Annotated[
        str | None, typer.Option(help="Also write metrics for tensorboard or wandb; needs the extra of that name.")
    ] = None,
    threads: Threads = None,
) -> None:
    """Improve a controller; end with the verdict and a report.

    If it is interrupted or killed, run the same command again to resume from the last checkpoint.
    """
    from residual_rl.api import improve

    run = improve(
        task,
        controller,
        steps=steps,
        seed=seed,
        out=out,
        method=method,
        preset=preset,
        horizon=horizon,
        encoder=encoder,
        num_threads=threads,
        log=log,
        tell=tell,
        **given(evaluation_interval=evaluation_interval, evaluation_episodes=evaluation_episodes, success=success),
        **settings(set_),
    )
    if not run.verdict().promoted:
        _print_warnings(run.path)
    show(f"run     {run.path}")
    try:
        _write_report([run.path])
    except ResidualRLError as error:  # the run itself is saved
        complaints.print(Text(f"no report: {error}", style="yellow"), highlight=False, soft_wrap=True)


def evaluate(
    target: Annotated[
        str, typer.Argument(help="A run directory; or a task's name or Gymnasium id, to evaluate a controller alone.")
    ],
    controller: Annotated[
        str | None,
        typer.Option(
            help="A controller's name, or its .npz, .safetensors or .onnx file.", show_default="the task's or the run's own"
        ),
    ] = None,
    env: Env = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes of each policy, from the verdict's initial states.")] = 500,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Use held-out initial states that no earlier decision has used.")
    ] = False,
    horizon: Horizon = None,
    success: Success = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Evaluate a run's policy beside its base, or a controller alone."""
    from residual_rl.api import Baseline
    from residual_rl.api import evaluate as evaluate_
    from residual_rl.judging.runs import reevaluate
    from residual_rl.verdict import in_digits, in_digits_apart

    result: Any
    try:
        if means_run(target):
            result = reevaluate(
                target, controller, env=env, episodes=episodes, horizon=horizon, num_threads=threads, fresh=fresh
            )
        else:
            result = evaluate_(
                target if env is None else env,
                controller,
                episodes=episodes,
                horizon=horizon,
                num_threads=threads,
                fresh=fresh,
                tell=tell,
                **given(success=success),
            )
    except UnknownName as error:
        if "/" in target and not Path(target).exists():
            raise ResidualRLError(f"there is no run directory, task or Gymnasium environment {target!r}") from error
        raise
    if as_json:
        print(json.dumps(result.to_json()))
        return
    table = Table(title=f"{result.task}, {result.episodes} episodes", title_justify="left")
    columns = ["success rate", "95 % interval", "mean return", "steps to success"]
    if result.measured_by == "return":
        columns = ["mean return", "95 % interval", "success rate", "steps to success"]
    for column in ("", *columns):
        table.add_column(column, justify="right" if column else "left")
    sides = {result.controller: result.base}
    if not isinstance(result, Baseline):
        sides["with residual"] = result.policy
    for name, side in sides.items():
        reached = "-" if side.steps_to_success is None else f"{side.steps_to_success:.0f}"
        rate, (low, high) = f"{side.success_rate:.3f}", side.interval
        if result.measured_by == "return" and side.return_interval:
            beside = None if isinstance(result, Baseline) else result.beside(side)
            interval = " to ".join(in_digits_apart(side.return_interval))
            table.add_row(name, in_digits(side.mean_return, beside), interval, rate, reached)
        else:
            table.add_row(name, rate, f"{low:.3f} - {high:.3f}", f"{side.mean_return:.1f}", reached)
    console.print(table)
    if not isinstance(result, Baseline):
        show(str(result))


def doctor(
    run: Annotated[Path, typer.Argument(help="A run directory, finished or not.")],
    controller: Annotated[
        str | None,
        typer.Option(help="The run's controller, if it is an .onnx file; needed only if the run is not finished."),
    ] = None,
    env: Env = None,
    as_json: Json = False,
) -> None:
    """Measure why learning did not help, and suggest what to try."""
    from residual_rl.api import diagnose

    diagnosis = diagnose(run, controller, env=env)
    if as_json:
        print(json.dumps(diagnosis.to_json()))
        return
    if not diagnosis.findings:
        show(f"there is nothing to diagnose yet after {diagnosis.step:,} steps")
        return
    table = Table(title=f"{run}, {diagnosis.step:,} steps", title_justify="left", show_lines=True)
    for column in ("", "", "measurement", "meaning"):
        table.add_column(column)
    for finding in diagnosis.findings:
        standing = Text("-" if finding.standing == "unknown" else finding.standing, style=COLORS[finding.standing])
        table.add_row(finding.name, standing, Text(finding.measured), Text(finding.meaning))
    console.print(table)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories; several are compared. Or the results.csv of a study.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The HTML file; for a study also a table (.md) or a figure (.svg, .pdf, .png).",
            show_default="report.html in the run directory",
        ),
    ] = None,
) -> None:
    """Write an HTML report that opens without a server."""
    if len(runs) == 1 and runs[0].suffix == ".csv":
        from residual_rl.studies.report import write_study_report

        show(f"report  {write_study_report(runs[0], out)}")
        return
    _write_report(runs, out)


def _print_warnings(run: Path) -> None:
    """Print the findings that may be why a policy was not promoted."""
    from residual_rl.runs.reading import read_diagnosis

    diagnosis = read_diagnosis(run)
    for finding in diagnosis.warnings if diagnosis else ():
        measured = "" if finding.name == "gain" else f"{finding.measured}. "  # the verdict has just been printed
        console.print(Text(f"{finding.name}: {measured}{finding.meaning}", style="yellow"), soft_wrap=True)


def _write_report(runs: list[Path], out: Path | None = None) -> None:
    from residual_rl.reports.report import write_report

    path = write_report(runs, out)
    show(f"report  {path}")
