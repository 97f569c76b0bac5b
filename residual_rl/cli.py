"""The command line: `residual-rl list | train | evaluate | doctor | watch | report | study | export | benchmark`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from residual_rl.config import METHODS, PRESETS
from residual_rl.controllers import CONTROLLERS
from residual_rl.errors import Interrupted, ResidualRLError, UnknownName
from residual_rl.studies import STUDIES
from residual_rl.tasks import TASKS
from residual_rl.tasks.task import Task as LearningTask

app = typer.Typer(
    help="Improve the controller you already have, and know that it never got worse.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()
complaints = Console(stderr=True)

Seed = Annotated[int, typer.Option(min=0, help="Decides all chance of the run.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Physics threads.", show_default="one a core")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")]


@app.command("list")
def list_() -> None:
    """Show the tasks, controllers, methods, presets and studies."""
    sections = {
        "tasks": {task.name: _described(task) for task in TASKS.values()},
        "controllers": {name: entry.summary for name, entry in CONTROLLERS.items()}
        | {"FILE.npz": "a table: does what was done in the nearest recorded state"},
        "methods": METHODS,
        "presets": {name: summary for name, (summary, _) in PRESETS.items()},
        "studies": {study.name: f"{study.summary} ({len(study.trials)} trials)" for study in STUDIES.values()},
    }
    for title, lines in sections.items():
        table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 2))
        for name, summary in lines.items():
            table.add_row(name, summary)
        console.print(table, "")


@app.command()
def train(
    task: Annotated[str, typer.Argument(help="A task's name, see `residual-rl list`.")],
    method: Annotated[
        str, typer.Option(help="rpl: over the controller; scratch: without it; expert-explore: it shows the way.")
    ] = "rpl",
    preset: Annotated[str, typer.Option(help="default: the recommended learner; silver2018: as published.")] = "default",
    controller: Annotated[
        str | None, typer.Option(help="The base: its name, or a table's .npz file.", show_default="the task's own")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Environment steps, evaluations excluded.")] = 100_000,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="The run's directory.", show_default="runs/TASK/METHOD/seed-SEED")] = None,
    evaluation_interval: Annotated[int, typer.Option(min=1, help="Steps between evaluations.")] = 5_000,
    evaluation_episodes: Annotated[int, typer.Option(min=1, help="Episodes of each evaluation.")] = 100,
    threads: Threads = None,
) -> None:
    """Learn a residual over a controller; end with the verdict and a report.

    Stopped at any moment, by Ctrl-C or worse, the same command goes on from the last checkpoint.
    """
    from residual_rl.front_door import improve

    bar = _progress_bar()
    shown = bar.add_task(task, total=None, stands="")

    def on_progress(progress: Any) -> None:
        bar.start()
        bar.update(
            shown,
            completed=progress.step,
            total=progress.steps,
            stands=_stands(progress),
        )

    try:
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
            tell=_tell,
            evaluation_interval=evaluation_interval,
            evaluation_episodes=evaluation_episodes,
        )
    finally:
        if bar.live.is_started:
            bar.stop()
    if not bar.tasks[shown].completed:
        console.print(
            f"{run.path} was trained before; another --seed or --out starts a new run", highlight=False, soft_wrap=True
        )
    console.print(f"\n[bold]{run.verdict()}[/bold]", highlight=False, soft_wrap=True)
    if not run.verdict().promoted:
        _print_warnings(run.path)
    console.print(f"run     {run.path}", highlight=False, soft_wrap=True)
    try:
        _write_report([run.path])
    except ResidualRLError as error:  # what was learned is on disk all the same
        complaints.print(Text(f"no report: {error}", style="yellow"), highlight=False, soft_wrap=True)


@app.command()
def evaluate(
    target: Annotated[str, typer.Argument(help="A run's directory, or a task's name to evaluate a controller alone.")],
    controller: Annotated[str | None, typer.Option(help="The controller.", show_default="the task's own")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes, from the verdict's initial states.")] = 500,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Evaluate a run's policy against its base, or a controller alone."""
    from residual_rl.front_door import Baseline
    from residual_rl.front_door import evaluate as evaluate_
    from residual_rl.verdict import in_digits

    if not Path(target).is_dir() and ("/" in target and not target.startswith("residual_rl/")):
        raise ResidualRLError(f"there is no run directory {target!r}, and no task of that name")
    result = evaluate_(target, controller, episodes=episodes, num_threads=threads)
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
        console.print(str(result), highlight=False, soft_wrap=True)


@app.command()
def doctor(
    run: Annotated[Path, typer.Argument(help="A run's directory, finished or not.")],
    as_json: Json = False,
) -> None:
    """Measure what may be why learning did not help, and say what to try."""
    from residual_rl.front_door import diagnose

    diagnosis = diagnose(run)
    if as_json:
        print(json.dumps(diagnosis.to_json()))
        return
    if not diagnosis.findings:
        console.print(f"nothing was learned yet after {diagnosis.step:,} steps", highlight=False)
        return
    table = Table(title=f"{run}, {diagnosis.step:,} steps", title_justify="left", show_lines=True)
    for column in ("", "", "measured", "which means"):
        table.add_column(column)
    for finding in diagnosis.findings:
        colors = {"sound": "green", "warning": "yellow", "unknown": "dim"}
        standing = Text("-" if finding.standing == "unknown" else finding.standing, style=colors[finding.standing])
        table.add_row(finding.name, standing, Text(finding.measured), Text(finding.meaning))
    console.print(table)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, several are compared; or the results.csv of a study.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The HTML file; of a study also a .md table or .svg figure.", show_default="report.html in the run"),
    ] = None,
) -> None:
    """Write an HTML report that opens without a server."""
    if len(runs) == 1 and runs[0].suffix == ".csv":
        from residual_rl.study_report import write_study_report

        console.print(f"report  {write_study_report(runs[0], out)}", highlight=False, soft_wrap=True)
        return
    _write_report(runs, out)


@app.command()
def watch(
    task: Annotated[str, typer.Argument(help="A task's name, see `residual-rl list`.")],
    controller: Annotated[str | None, typer.Option(help="The controller, alone.", show_default="the task's own")] = None,
    run: Annotated[Path | None, typer.Option(help="A run's directory: its policy instead of a controller.")] = None,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="How many.", show_default="5 in a file, in a window until it is closed")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the first episode; the next ones count on.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="An .mp4 or .gif for a video, a .png for a film strip.", show_default="a window")
    ] = None,
    threads: Threads = None,
) -> None:
    """Look at a controller or a run's policy: in a window where there is a display, else as a video."""
    from residual_rl.watch import watch as watch_

    if controller is not None and run is not None:
        raise ResidualRLError("--controller shows a controller alone, --run what was learned over one: give one of the two")
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeRemainingColumn(),
        console=complaints,
    )
    drawn = bar.add_task(task, total=None)

    def on_progress(done: int, total: int) -> None:
        bar.start()
        bar.update(drawn, completed=done, total=total)

    try:
        seen = watch_(
            task,
            controller,
            run=run,
            episodes=episodes,
            seed=seed,
            out=out,
            num_threads=threads,
            on_progress=on_progress,
            tell=lambda line: complaints.print(line, style="dim", markup=False, highlight=False, soft_wrap=True),
        )
    finally:
        if bar.live.is_started:
            bar.stop()
    console.print(seen.summary, highlight=False)
    if seen.path is not None:
        console.print(f"watch   {seen.path}", highlight=False, soft_wrap=True)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A finished run's directory.")],
    out: Annotated[Path, typer.Argument(help="The bundle's folder; must not be there yet.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="Also write the policy as ONNX; needs the onnx extra.")] = False,
    as_json: Json = False,
) -> None:
    """Write a run's policy as a bundle that runs with NumPy alone."""
    from residual_rl.front_door import export as export_

    exported = export_(run, out, onnx=onnx)
    print(json.dumps(exported.to_json()) if as_json else exported)


@app.command()
def push(
    bundle: Annotated[Path, typer.Argument(help="The folder that `export` wrote.")],
    to: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face Hub, or a folder: /..., ./..., ~/..., file:...")],
    public: Annotated[bool, typer.Option("--public", help="A repository that is made is for everyone to see.")] = False,
) -> None:
    """Send a bundle to the Hugging Face Hub or to a folder, with a model card."""
    from residual_rl.hub import push as push_

    console.print(f"push    {push_(bundle, to, public=public)}", highlight=False, soft_wrap=True)


@app.command()
def pull(
    source: Annotated[str, typer.Argument(help="Where the bundle is, as for push.")],
    out: Annotated[Path, typer.Argument(help="The folder to keep it in; must not be there yet.")],
    revision: Annotated[str | None, typer.Option(help="A commit, branch or tag.", show_default="main")] = None,
) -> None:
    """Fetch a bundle; nothing of its owner's is run."""
    from residual_rl.hub import pull as pull_

    policy = pull_(source, out, revision=revision)
    decision = "promoted" if policy.promoted else "not promoted: it delivers the base until its scale is set"
    console.print(f"pull    {out}: {decision}", highlight=False, soft_wrap=True)


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="A study's name, see `residual-rl list`.")],
    only: Annotated[
        list[str] | None, typer.Option(help="A task, a variant or task/variant; * stands for anything. Can be repeated.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Such as 0-4 or 0,3,7.", show_default="the study's own")] = None,
    budget: Annotated[int | None, typer.Option(min=1, help="Steps of each.", show_default="the study's own")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Trials at a time.", show_default="one a core")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the trials, with estimated hours.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Run those again that failed before.")] = False,
    out: Annotated[Path | None, typer.Option(help="The study's directory.", show_default="runs/studies/NAME")] = None,
) -> None:
    """Run the trials of a study on all cores, and gather their results in one table.

    Stopped at any moment, by Ctrl-C or worse, the same command goes on where it was.
    """
    from residual_rl.study_command import parse_seeds
    from residual_rl.study_command import study as study_

    finished = study_(
        name,
        only=only or [],
        seeds=parse_seeds(seeds) if seeds else None,
        budget=budget,
        jobs=jobs,
        dry_run=dry_run,
        retry=retry,
        out=out,
        console=complaints,
    )
    if not finished:
        sys.exit(1)


@app.command()
def benchmark(
    subject: Annotated[str, typer.Argument(help="physics, learning or foreign")],
    as_json: Json = False,
    task: Annotated[str, typer.Option(help="Which world `physics` measures.")] = "slippery-push",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of `physics`.", show_default="one a core")] = None,
) -> None:
    """Measure speed beside the usual alternatives, in one run on this machine."""
    from residual_rl import benchmarks

    subjects: dict[str, Callable[[], dict[str, Any]]] = {
        "physics": lambda: benchmarks.physics(task, threads, tell=_tell),
        "learning": lambda: benchmarks.learning(tell=_tell),
        "foreign": lambda: benchmarks.foreign(tell=_tell),
    }
    if subject not in subjects:
        raise UnknownName("benchmark", subject, subjects)
    result = subjects[subject]()
    print(json.dumps(result) if as_json else benchmarks.table(result))


def main() -> None:
    """Runs a command; what a user can put right is said in one line, without a traceback."""
    try:
        app(standalone_mode=True)
    except Interrupted as stop:
        complaints.print(f"[yellow]{stop}[/yellow]", highlight=False, soft_wrap=True)
        sys.exit(130)
    except ResidualRLError as error:
        complaints.print(Text(f"error: {error}", style="red"), highlight=False, soft_wrap=True)
        sys.exit(1)


def _described(task: LearningTask) -> str:
    measure = "; measured by its return" if task.measured_by == "return" else ""
    return f"{task.summary} ({task.gymnasium_id}{measure})"


class _Speed(ProgressColumn):
    """Environment steps per second, once they can be told."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} steps/s" if task.speed else "compiling", style="dim")


def _tell(line: str) -> None:
    complaints.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)


def _print_warnings(run: Path) -> None:
    """What may be why a policy was not promoted; nothing for runs that were finished before that was kept."""
    from residual_rl.run import read_diagnosis

    diagnosis = read_diagnosis(run)
    for finding in diagnosis.warnings if diagnosis else ():
        console.print(Text(f"{finding.name}: {finding.measured}. {finding.meaning}", style="yellow"), soft_wrap=True)


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[stands]}"),
        console=complaints,
        speed_estimate_period=60,
    )


def _stands(progress: Any) -> str:
    """How base and policy do, by what the task is measured by."""
    from residual_rl.verdict import in_digits

    if progress.measured_by == "return":
        return f"return: base {in_digits(progress.base)}  policy {in_digits(progress.policy)}"
    return f"base {progress.base:.2f}  policy {progress.policy:.2f}"


def _write_report(runs: list[Path], out: Path | None = None) -> None:
    from residual_rl.report import write_report

    path = write_report(runs, out)
    console.print(f"report  {path}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
