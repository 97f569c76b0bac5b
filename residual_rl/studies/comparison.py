"""Summarize a study from its `results.csv`: a table of variants, with intervals over seeds.

Numbers are in the measure of the task: success, or mean return.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from residual_rl.reports.figures import columns_of
from residual_rl.statistics import bootstrap_interval, iqm, iqm_interval, wilson_interval
from residual_rl.verdict import in_digits

SOLVED = 0.95
"""Success rate at which a seed counts as solved; the step is that of the first such evaluation."""
LAST = 5  # evaluations
SUMMARY_COLUMNS = (
    *("task", "variant", "seeds", "base", "last success or return", "95 % interval", f"mean of last {LAST}", "lowest of them"),
    *(f"steps to {SOLVED:g}", "lowest, relative to base", "lowest acting, relative to base", "paper", ""),
)

Rows = Sequence[Mapping[str, Any]]


class Line(NamedTuple):
    """A variant on a task. Numbers are means over its seeds unless they say otherwise."""

    task: str
    variant: str
    by_return: bool
    """Whether the numbers are mean returns instead of success rates."""
    seeds: int
    """Number of seeds with an evaluation."""
    base: float
    lasts: list[float]
    """Success rate or mean return of the last evaluation of each seed."""
    interval: tuple[float, float]
    """Of `last`: bootstrap over the seeds; for a single seed, of its episodes."""
    last_five: float
    last_five_lowest: float
    """Lowest of the last five evaluations of all seeds."""
    solved: list[float]
    """For each seed the step of its first evaluation of at least 0.95; inf if there is none. Empty for returns."""
    lowest: float
    """Lowest evaluation, minus the base."""
    acting: list[float]
    """For each seed with at least 100 training episodes, the lowest success rate over 100 of them. Empty for returns."""
    paper: float | None
    remark: str
    """Number of failed or unfinished trials, if any."""

    @property
    def last(self) -> float:
        """Mean over the seeds; NaN if there are none."""
        return float(np.mean(self.lasts)) if self.lasts else float("nan")

    @property
    def lowest_acting(self) -> float:
        """Mean over the seeds, minus the base; NaN if there are none."""
        return float(np.mean(self.acting)) - self.base if self.acting else float("nan")

    @property
    def steps_to_solve(self) -> float:
        """Median over the seeds; inf if half of them are not solved."""
        return float(np.median(self.solved))


def compare_variants(rows: Rows) -> list[Line]:
    """Return a line for each task and variant, in the order of the rows."""
    groups: dict[tuple[str, str], dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        groups.setdefault((str(row["task"]), str(row["variant"])), {}).setdefault(str(row["seed"]), []).append(row)
    return [_line(task, variant, list(seeds.values())) for (task, variant), seeds in groups.items()]


def _line(task: str, variant: str, trials: list[list[Mapping[str, Any]]]) -> Line:
    states = [str(trial[0]["state"]) for trial in trials]
    marks = [f"{states.count(state)} of {len(states)} {state}" for state in ("failed", "unfinished") if state in states]
    seeds = [rows_with_numbers(trial) for trial in trials]
    seeds = [trial for trial in seeds if trial]
    known = seeds[0][0] if seeds else trials[0][0]  # a trial that failed at the start does not know its measure
    paper, columns, by_return = str(known["paper"]), columns_of(known), is_measured_by_return(known)
    if not seeds:
        nothing = float("nan")
        published = float(paper) if paper else None
        numbers = (0, nothing, [], (nothing, nothing), nothing, nothing, [], nothing, [])
        return Line(task, variant, by_return, *numbers, published, ", ".join(marks))
    rates = [np.array([float(row[columns.value]) for row in trial]) for trial in seeds]
    bases = np.array([float(trial[-1][columns.base]) for trial in seeds])
    acting = [] if by_return else [float(lowest) for trial in seeds if (lowest := str(trial[-1]["lowest_acting_success_rate"]))]
    last = np.array([rate[-1] for rate in rates])
    return Line(
        task=task,
        variant=variant,
        by_return=by_return,
        seeds=len(seeds),
        base=float(bases.mean()),
        lasts=last.tolist(),
        interval=bootstrap_interval(last) if len(seeds) > 1 else _of_episodes(seeds[0][-1]),
        last_five=float(np.mean([rate[-LAST:].mean() for rate in rates])),
        last_five_lowest=float(min(rate[-LAST:].min() for rate in rates)),
        solved=[]
        if by_return
        else [
            next((float(row["step"]) for row in trial if float(row["success_rate"]) >= SOLVED), float("inf")) for trial in seeds
        ],
        lowest=float(np.mean([rate.min() - base for rate, base in zip(rates, bases, strict=True)])),
        acting=acting,
        paper=float(paper) if paper else None,
        remark=", ".join(marks),
    )


def is_measured_by_return(row: Mapping[str, Any]) -> bool:
    """Return whether a row's task is measured by a number of any size, its return or its time, and not by a rate."""
    return row["measured_by"] != "success"


def rows_with_numbers(rows: Rows) -> list[Mapping[str, Any]]:
    """Return the rows that have numbers, in the order of their steps."""
    return sorted((row for row in rows if str(row["step"])), key=lambda row: float(row["step"]))


def _of_episodes(row: Mapping[str, Any]) -> tuple[float, float]:
    if is_measured_by_return(row):
        columns = columns_of(row)
        return float(row[columns.low]), float(row[columns.high])
    episodes = round(float(row["episodes"]))
    return wilson_interval(round(float(row["success_rate"]) * episodes), episodes)


def overall(rows: Rows) -> list[tuple[str, float, tuple[float, float]]]:
    """Return name, IQM of the last success over tasks and seeds, and its interval, for variants with two seeds in every task.

    Tasks that are measured by their return are left out, because returns of different tasks cannot be averaged.
    """
    by_return = {row["task"] for row in rows if is_measured_by_return(row)}
    rows = [row for row in rows if row["task"] not in by_return]
    last: dict[str, dict[str, list[float]]] = {}
    for line in compare_variants(rows):
        if line.lasts:
            last.setdefault(line.variant, {})[line.task] = line.lasts
    tasks = {str(row["task"]) for row in rows}
    complete = {
        variant: [np.array(values) for values in by_task.values()]
        for variant, by_task in last.items()
        if len(tasks) > 1 and by_task.keys() == tasks and min(map(len, by_task.values())) > 1
    }
    return [(variant, iqm(scores), iqm_interval(scores)) for variant, scores in complete.items()]


def cells(line: Line) -> list[str]:
    """Return the cells of a line, one for each of `SUMMARY_COLUMNS`."""

    def rate(value: float | None, form: str = ".3f") -> str:
        if value is None or np.isnan(value):
            return ""
        if line.by_return:
            return ("+" if form.startswith("+") and value > 0 else "") + in_digits(value)
        return format(value, form)

    solved = ""
    if line.solved and line.remark == "" and line.steps_to_solve == float("inf"):
        solved = "not reached"
    elif line.solved and line.steps_to_solve < float("inf"):
        solved = f"{line.steps_to_solve / 1000:g}k"
    if line.solved and len(line.solved) > 1:
        reached = sum(step < float("inf") for step in line.solved)
        solved += f" ({reached} of {len(line.solved)})"
    interval = " to ".join(map(rate, line.interval)) if line.seeds else ""
    return [
        *(line.task, line.variant, str(line.seeds), rate(line.base), rate(line.last), interval),
        *(rate(line.last_five), rate(line.last_five_lowest), solved.strip(), rate(line.lowest, "+.3f")),
        *(rate(line.lowest_acting, "+.3f"), rate(line.paper, "g"), line.remark),
    ]


def markdown(rows: Rows) -> str:
    """Return the table, and below it the variants over all tasks, as Markdown."""
    lines = [f"| {' | '.join(SUMMARY_COLUMNS)} |", "|---" * len(SUMMARY_COLUMNS) + "|"]
    lines += [f"| {' | '.join(cells(line))} |" for line in compare_variants(rows)]
    over = overall(rows)
    if over:
        lines += ["", "| all tasks | IQM of last success | 95 % interval |", "|---|---|---|"]
        lines += [f"| {variant} | {value:.3f} | {low:.3f} to {high:.3f} |" for variant, value, (low, high) in over]
    return "\n".join(lines) + "\n"
