"""The commands around a run: learn, evaluate, ask why, report."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from residual_rl.cli.console import Json, Seed, Threads, complaints, console, progress_bar, show, tell
from residual_rl.errors import ResidualRLError, UnknownName


def train(
    task: Annotated[str, typer.Argument(help="A task's name, see `residual-rl list`, or any Gymnasium id.")],
    method: Annotated[
        str,
        typer.Option(
            help="rpl: improve the controller; scratch: learn without one; expert-explore (preset silver2018 only): from "
            "scratch, the controller acts in some steps."
        ),
    ] = "rpl",
    preset: Annotated[str, typer.Option(help="default: the recommended learner; silver2018: as published.")] = "default",
    controller: Annotated[
        str | None,
        typer.Option(
            help="The base: its name, a table's .npz file or a network's .onnx; needed where the task has none of its own.",
            show_default="the task's own",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Environment steps, evaluations excluded.")] = 100_000,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="The run's directory.", show_default="runs/TASK/METHOD[-PRESET]/seed-SEED")
    ] = None,
    evaluation_interval: Annotated[
        int | None, typer.Option(min=1, help="Steps between evaluations.", show_default="5000, more where episodes are long")
    ] = None,
    evaluation_episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes of each evaluation.", show_default="100, fewer where they are long")
    ] = None,
    threads: Threads = None,
) -> None:
    """Learn a residual over a controller; end with the verdict and a report.

    Stopped at any moment, by Ctrl-C or worse, the same command goes on from the last checkpoint.
    """
    from residual_rl.api import improve

    evaluated: dict[str, Any] = {"evaluation_interval": evaluation_interval, "evaluation_episodes": evaluation_episodes}
    stands = TextColumn("{task.fields[stands]}")
    with progress_bar(_Speed(), TimeRemainingColumn(), stands, speed_estimate_period=60) as bar:
        shown = bar.add_task(task, total=None, stands="")

        def on_progress(progress: Any) -> None:
            bar.start()
            bar.update(shown, completed=progress.step, total=progress.steps, stands=_stands(progress))

        run = improve(
            task,
            controller,
            steps=steps,
            seed=seed,
            out=out,
            method=method,
            preset=preset,
            num_threads=threads,
            on_progress=on_progress,
            tell=tell,
            **{name: value for name, value in evaluated.items() if value is not None},
        )
    console.print()
    console.print(Text(str(run.verdict()), style="bold"), highlight=False, soft_wrap=True)
    if not run.verdict().promoted:
        _print_warnings(run.path)
    show(f"run     {run.path}")
    try:
        _write_report([run.path])
    except ResidualRLError as error:  # what was learned is on disk all the same
        complaints.print(Text(f"no report: {error}", style="yellow"), highlight=False, soft_wrap=True)


def evaluate(
    target: Annotated[str, typer.Argument(help="A run's directory, or a task's name to evaluate a controller alone.")],
    controller: Annotated[
        str | None,
        typer.Option(help="A controller's name, or its .npz or .onnx file.", show_default="the task's or the run's own"),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes, from the verdict's initial states.")] = 500,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="From initial states that decided nothing, not the verdict's.")
    ] = False,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Evaluate a run's policy against its base, or a controller alone."""
    from residual_rl.api import Baseline
    from residual_rl.api import evaluate as evaluate_
    from residual_rl.verdict import in_digits

    try:
        result = evaluate_(target, controller, episodes=episodes, num_threads=threads, fresh=fresh, tell=tell)
    except UnknownName as error:
        if "/" in target and not Path(target).exists():
            raise ResidualRLError(
                f"there is no run directory {target!r}, and no task or Gymnasium environment called so"
            ) from error
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
            interval = " to ".join(map(in_digits, side.return_interval))
            table.add_row(name, in_digits(side.mean_return), interval, rate, reached)
        else:
            table.add_row(name, rate, f"{low:.3f} - {high:.3f}", f"{side.mean_return:.1f}", reached)
    console.print(table)
    if not isinstance(result, Baseline):
        show(str(result))


def doctor(
    run: Annotated[
        Path, typer.Argument(help="A run's directory, finished or not; in an environment of your own a finished one.")
    ],
    as_json: Json = False,
) -> None:
    """Measure what may be why learning did not help, and say what to try."""
    from residual_rl.api import diagnose

    diagnosis = diagnose(run)
    if as_json:
        print(json.dumps(diagnosis.to_json()))
        return
    if not diagnosis.findings:
        show(f"nothing was learned yet after {diagnosis.step:,} steps")
        return
    table = Table(title=f"{run}, {diagnosis.step:,} steps", title_justify="left", show_lines=True)
    for column in ("", "", "measured", "which means"):
        table.add_column(column)
    for finding in diagnosis.findings:
        colors = {"sound": "green", "warning": "yellow", "unknown": "dim"}
        standing = Text("-" if finding.standing == "unknown" else finding.standing, style=colors[finding.standing])
        table.add_row(finding.name, standing, Text(finding.measured), Text(finding.meaning))
    console.print(table)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, several are compared; or the results.csv of a study.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The HTML file; of a study also a table (.md) or a figure (.svg, .pdf, .png).",
            show_default="report.html in the run",
        ),
    ] = None,
) -> None:
    """Write an HTML report that opens without a server."""
    if len(runs) == 1 and runs[0].suffix == ".csv":
        from residual_rl.studies.report import write_study_report

        show(f"report  {write_study_report(runs[0], out)}")
        return
    _write_report(runs, out)


class _Speed(ProgressColumn):
    """Environment steps per second, once they can be told."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} steps/s" if task.speed else "compiling", style="dim")


def _print_warnings(run: Path) -> None:
    """Print what may be why a policy was not promoted."""
    from residual_rl.runs.reading import read_diagnosis

    diagnosis = read_diagnosis(run)
    for finding in diagnosis.warnings if diagnosis else ():
        console.print(Text(f"{finding.name}: {finding.measured}. {finding.meaning}", style="yellow"), soft_wrap=True)


def _stands(progress: Any) -> str:
    """How base and policy do, by what the task is measured by."""
    from residual_rl.verdict import in_digits

    follows = "; now the verdict" if progress.step >= progress.steps else ""
    if progress.measured_by == "return":
        return f"return: base {in_digits(progress.base)}  policy {in_digits(progress.policy)}{follows}"
    return f"base {progress.base:.2f}  policy {progress.policy:.2f}{follows}"


def _write_report(runs: list[Path], out: Path | None = None) -> None:
    from residual_rl.reports.report import write_report

    path = write_report(runs, out)
    show(f"report  {path}")
