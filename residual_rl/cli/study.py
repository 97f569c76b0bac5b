"""The commands that run a study and collect its results."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from residual_rl.cli.console import complaints, show
from residual_rl.errors import ResidualRLError, RunError

MAX_SEEDS = 10_000  # in one part of --seeds


def study(
    name: Annotated[str, typer.Argument(help="A study's name, see `residual-rl list`.")],
    only: Annotated[
        list[str] | None,
        typer.Option(help="Run these only: a task, a variant or task/variant; * matches anything. Repeatable."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, such as 0-4 or 0,3,7.", show_default="the study's own")] = None,
    budget: Annotated[
        int | None, typer.Option(min=1, help="Training steps of each trial.", show_default="the study's own")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time.", show_default="one per core; with --ray as many as fit")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the trials and the estimated hours.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Run trials that failed before again.")] = False,
    ray: Annotated[
        str | None,
        typer.Option(help="Run on a Ray cluster: HOST:PORT, auto, or local to start one here. --out must be a shared folder."),
    ] = None,
    cpus: Annotated[float, typer.Option(help="CPUs of a trial, by which Ray places it.")] = 1.0,
    out: Annotated[
        Path | None, typer.Option(help="The study's directory.", show_default="runs/studies/NAME, with a budget NAME-BUDGET")
    ] = None,
) -> None:
    """Run the trials of a study on all cores, or on a Ray cluster, and collect their results in one table.

    If it is interrupted or killed, run the same command again to resume.
    """
    from residual_rl.cli.study_table import carry_out

    finished = carry_out(
        name,
        only=only or [],
        seeds=parse_seeds(seeds) if seeds else None,
        budget=budget,
        jobs=jobs,
        dry_run=dry_run,
        retry=retry,
        out=out,
        console=complaints,
        ray=ray,
        cpus=cpus,
    )
    if not finished:
        sys.exit(1)


def gather(
    name: Annotated[str, typer.Argument(help="The study's name.")],
    directories: Annotated[list[Path], typer.Argument(help="The directories with its trials.")],
    out: Annotated[Path, typer.Option(help="The directory for results.csv and verdicts.csv.")],
) -> None:
    """Collect the results of a study that ran in several directories, or on several machines, in one table.

    Trials that differ only in budget get a suffix on the variant (`default-200k`).
    """
    from residual_rl.studies import find_study
    from residual_rl.studies.results import RESULTS_CSV, collect_results

    found = find_study(name)
    for directory in directories:
        if not directory.is_dir():
            raise RunError(f"there is no directory {directory}")
    show(f"{collect_results(found, out, directories)} trials in {out / RESULTS_CSV}")


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of `"0-2,7"`: 0, 1, 2 and 7.

    Raises:
        ResidualRLError: the text has another form.
    """
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            numbers = range(int(first), int(last if dash else first) + 1)
            if len(numbers) > MAX_SEEDS:
                raise ResidualRLError(f"{text!r} is more than {MAX_SEEDS} seeds")
            seeds += numbers
    except (ValueError, OverflowError):
        seeds = []
    if not seeds:
        raise ResidualRLError(f"--seeds must be like 0-4 or 0,3,7, not {text!r}")
    return list(dict.fromkeys(seeds))
