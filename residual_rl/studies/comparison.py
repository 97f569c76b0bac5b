"""What a study found, from its `results.csv` alone: a table of methods, with intervals over seeds.

Everything is told by what a task is measured by: success, or mean return.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from residual_rl.reports.figures import columns_of
from residual_rl.statistics import bootstrap_interval, iqm, iqm_interval, wilson_interval
from residual_rl.verdict import in_digits

SOLVED = 0.95
"""Success rate whose first evaluation counts as the step at which a seed got there."""
LAST = 5  # evaluations
COLUMNS = (
    *("task", "variant", "seeds", "base", "last success or return", "95 % interval", f"mean of last {LAST}", "lowest of them"),
    *(f"steps to {SOLVED:g}", "lowest, relative to base", "lowest acting, relative to base", "paper", ""),
)

Rows = Sequence[Mapping[str, Any]]


class Line(NamedTuple):
    """A variant on a task. Numbers are means over its seeds unless they say otherwise."""

    task: str
    variant: str
    by_return: bool
    """Whether the numbers are mean returns, not success rates."""
    seeds: int
    """With an evaluation."""
    base: float
    lasts: list[float]
    """Success rate or mean return of the last evaluation of each seed."""
    interval: tuple[float, float]
    """Of `last`: bootstrap over the seeds; for a single seed, of its episodes."""
    last_five: float
    last_five_lowest: float
    """Lowest of the last five evaluations of all seeds."""
    solved: list[float]
    """Of each seed, the step of its first evaluation of 0.95 or more; inf where there was none. Empty of returns."""
    lowest: float
    """Lowest evaluation, minus the base."""
    acting: list[float]
    """The lowest success rate over 100 training episodes, of each seed that has had so many. Empty of returns."""
    paper: float | None
    remark: str
    """Says of trials that are failed or unfinished."""

    @property
    def last(self) -> float:
        """Mean over the seeds; NaN where there are none."""
        return float(np.mean(self.lasts)) if self.lasts else float("nan")

    @property
    def lowest_acting(self) -> float:
        """Mean over the seeds, minus the base; NaN where there are none."""
        return float(np.mean(self.acting)) - self.base if self.acting else float("nan")

    @property
    def steps_to_solve(self) -> float:
        """Median over the seeds; inf where half of them have not got there."""
        return float(np.median(self.solved))


def compared(rows: Rows) -> list[Line]:
    """A line for each task and variant, in the order of the rows."""
    groups: dict[tuple[str, str], dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        groups.setdefault((str(row["task"]), str(row["variant"])), {}).setdefault(str(row["seed"]), []).append(row)
    return [_line(task, variant, list(seeds.values())) for (task, variant), seeds in groups.items()]


def _line(task: str, variant: str, trials: list[list[Mapping[str, Any]]]) -> Line:
    states = [str(trial[0]["state"]) for trial in trials]
    marks = [f"{states.count(state)} of {len(states)} {state}" for state in ("failed", "unfinished") if state in states]
    seeds = [evaluated(trial) for trial in trials]
    seeds = [trial for trial in seeds if trial]
    known = seeds[0][0] if seeds else trials[0][0]  # a trial that failed at once does not know what its world is measured by
    paper, columns, by_return = str(known["paper"]), columns_of(known), measured_by_return(known)
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


def measured_by_return(row: Mapping[str, Any]) -> bool:
    """Whether a row's task is measured by its return."""
    return row["measured_by"] == "return"


def evaluated(rows: Rows) -> list[Mapping[str, Any]]:
    """The rows that have numbers, in the order of their steps."""
    return sorted((row for row in rows if str(row["step"])), key=lambda row: float(row["step"]))


def _of_episodes(row: Mapping[str, Any]) -> tuple[float, float]:
    if measured_by_return(row):
        return float(row["return_low"]), float(row["return_high"])
    episodes = round(float(row["episodes"]))
    return wilson_interval(round(float(row["success_rate"]) * episodes), episodes)


def overall(rows: Rows) -> list[tuple[str, float, tuple[float, float]]]:
    """Variant, IQM of the last success over tasks and seeds, and its interval: of the variants that every task has twice.

    Tasks that are measured by their return are left out: nothing can be averaged over the returns of two tasks.
    """
    by_return = {row["task"] for row in rows if measured_by_return(row)}
    rows = [row for row in rows if row["task"] not in by_return]
    last: dict[str, dict[str, list[float]]] = {}
    for line in compared(rows):
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
    """A line as the text under `COLUMNS`."""

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
    """The table, and under it the variants over all tasks."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [f"| {' | '.join(cells(line))} |" for line in compared(rows)]
    over = overall(rows)
    if over:
        lines += ["", "| all tasks | IQM of last success | 95 % interval |", "|---|---|---|"]
        lines += [f"| {variant} | {value:.3f} | {low:.3f} to {high:.3f} |" for variant, value, (low, high) in over]
    return "\n".join(lines) + "\n"
