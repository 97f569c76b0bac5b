"""Show a study's trials on the console: which would run, their progress, and their results."""

from collections.abc import Mapping
from math import isnan
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from residual_rl.processes import usable_cores
from residual_rl.studies import find_study
from residual_rl.studies.estimate import estimates
from residual_rl.studies.results import RESULTS_CSV
from residual_rl.studies.running import run
from residual_rl.studies.trial import Trial, chosen
from residual_rl.studies.trial_directory import Standing, TrialState, error_of, standing, state_of
from residual_rl.types import Measure
from residual_rl.verdict import in_digits

STYLES = {TrialState.RUNNING: "bold", TrialState.FAILED: "red", TrialState.FINISHED: "green"}


def carry_out(
    name: str,
    *,
    only: list[str],
    seeds: list[int] | None,
    budget: int | None,
    jobs: int | None,
    dry_run: bool,
    retry: bool,
    out: Path | None,
    console: Console,
    ray: str | None = None,
    cpus: float = 1.0,
) -> bool:
    """Run a study, or list its trials; return whether all of them are finished."""
    found = find_study(name)
    trials = chosen(found.trials, only, seeds, budget)
    for trial in trials:
        trial.config()  # raises before anything runs if a trial cannot run
    out = out or Path("runs") / "studies" / (name if budget is None else f"{name}-{budget}")
    if dry_run:
        _list(trials, out, jobs or usable_cores(), retry, console)
        return True

    def tell(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    tell(f"{len(trials)} trials in {out}")
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        states = run(
            trials,
            out,
            ray=ray,
            cpus=cpus,
            jobs=jobs,
            retry=retry,
            study=found,
            watch=lambda states: live.update(lines(states, out)),
            tell=tell,
        )
    counts = {state: list(states.values()).count(state) for state in TrialState}
    tell(", ".join(f"{count} {state}" for state, count in counts.items() if count))
    for trial in (trial for trial, state in states.items() if state == TrialState.FAILED):
        console.print(Text(f"{trial.name} failed: {error_of(out / trial.name)}", style="red"), soft_wrap=True)
    if counts[TrialState.FAILED]:
        tell("--retry runs failed trials again")
    tell(f"results {out / RESULTS_CSV}")
    return counts[TrialState.FINISHED] == len(trials)


def lines(states: Mapping[Trial, TrialState], out: Path) -> Group:
    """Return a line for each trial, running ones first."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("trial", "state", "steps", "base", "policy", "left"):
        table.add_column(column, justify="left" if column in ("trial", "state") else "right", no_wrap=True)
    order = [TrialState.RUNNING, TrialState.FAILED, TrialState.UNFINISHED, TrialState.WAITING, TrialState.FINISHED]
    for trial, state in sorted(states.items(), key=lambda pair: order.index(pair[1])):
        at = standing(trial, out / trial.name)
        table.add_row(
            trial.name,
            Text(str(state), style=STYLES.get(state, "dim")),
            f"{at.step:,} of {at.steps:,}" if at.step else "compiling" if state == TrialState.RUNNING else "",
            *(_measured(value, at.measured_by) for value in (at.base, at.policy)),
            _left(at) if state == TrialState.RUNNING else "",
        )
    done = sum(state == TrialState.FINISHED for state in states.values())
    return Group(table, Text(f"{done} of {len(states)} finished", style="dim"))


def _measured(value: float | None, measured_by: Measure) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if measured_by == "success" else in_digits(value)


def _left(at: Standing) -> str:
    if not at.step or not at.wall_seconds:
        return ""
    minutes = round(max(0, at.steps - at.step) * at.wall_seconds / at.step / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h"


def _list(trials: list[Trial], out: Path, jobs: int, retry: bool, console: Console) -> None:
    """List the trials to run, with their estimated duration."""

    def tell(line: str) -> None:
        console.print(line, style="dim", markup=False, highlight=False)

    over = {TrialState.FINISHED} if retry else {TrialState.FINISHED, TrialState.FAILED}
    open_ = [trial for trial in trials if state_of(out / trial.name) not in over]
    hours = estimates(open_, trials, out, tell)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("trial", "state", "steps", "hours left", "basis"):
        table.add_column(column, justify="right" if column in ("steps", "hours left") else "left", no_wrap=True)
    known = {trial: left for trial, left in hours.items() if not isnan(left.hours)}
    for trial in trials:
        cells = (f"{known[trial].hours:.2f}", known[trial].basis) if trial in known else ("?" if trial in hours else "", "")
        table.add_row(trial.name, str(state_of(out / trial.name)), f"{trial.steps:,}", *cells)
    console.print(table)
    for trial in hours.keys() - known.keys():
        console.print(Text(f"{trial.name} {hours[trial].basis}", style="yellow"), soft_wrap=True)
    total, longest = sum(left.hours for left in known.values()), max((left.hours for left in known.values()), default=0.0)
    together = max(total / jobs, longest)
    unknown = f", without the {len(hours) - len(known)} that cannot be estimated" if len(known) < len(hours) else ""
    tell(
        f"{len(trials)} trials in {out}, {len(open_)} to run: {total:.1f} h on one core, {together:.1f} h with {jobs} at a time"
        + unknown
    )
