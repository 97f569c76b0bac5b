"""Draw a study with many variants: a dot for each, since so many curves would be indistinguishable."""

from typing import TYPE_CHECKING, Any

import numpy as np

from residual_rl.optional import REPORTS, need
from residual_rl.reports.figures import BASE_COLOR, COLORS, Rows, dress
from residual_rl.studies.comparison import Line, compare_variants

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW_HEIGHT = 0.23  # inches
HEAD_AND_FOOT = 0.75  # inches of a panel, beside its rows


def too_many_for_curves(rows: Rows) -> bool:
    """Return whether a task has more variants than there are colours."""
    return any(len(lines) > len(COLORS) for lines in _by_task(rows).values())


def dot_plot(rows: Rows, *, width: float = 7.2) -> "Figure":
    """Draw each variant's last success rate or mean return, and the lowest moving average during training.

    Each task has two panels with a line for each variant, in the order of the rows: the mean over seeds with its bootstrap
    interval, and a small dot for each seed. The base is orange; a thin vertical line marks the first variant. A name shows if
    trials are not finished.

    Args:
        rows: the rows of a study's `results.csv`.
        width: inches.
    """
    need("matplotlib", *REPORTS)
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    tasks = _by_task(rows)
    heights = [HEAD_AND_FOOT + ROW_HEIGHT * len(lines) for lines in tasks.values()]
    figure = Figure(figsize=(width, sum(heights) or HEAD_AND_FOOT), layout=ConstrainedLayoutEngine(w_pad=0.1))
    if not tasks:
        return figure
    axes = figure.subplots(len(tasks), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
    for (task, lines), (last, acting) in zip(tasks.items(), axes, strict=True):
        what = "mean return" if lines[0].by_return else "success rate"
        _panel(last, [(line.lasts, line.interval) for line in lines], lines, f"{task}: last {what}")
        if any(line.acting for line in lines):
            _panel(acting, [(line.acting, None) for line in lines], lines, "lowest over 100 training episodes")
            acting.tick_params(labelleft=False)
        else:
            acting.remove()
    return figure


def _by_task(rows: Rows) -> dict[str, list[Line]]:
    """Return the lines of each task. The controller alone is drawn as the base."""
    learned = [row for row in rows if row["method"] != "initial"]
    tasks: dict[str, list[Line]] = {}
    for line in compare_variants(learned):
        tasks.setdefault(line.task, []).append(line)
    return {task: lines for task, lines in tasks.items() if any(line.seeds for line in lines)}


def _panel(axis: Any, values: list[tuple[list[float], tuple[float, float] | None]], lines: list[Line], title: str) -> None:
    axis.axvline(np.nanmean([line.base for line in lines]), color=BASE_COLOR, lw=1.4)
    if values[0][0]:
        axis.axvline(np.mean(values[0][0]), color="#999", lw=0.8)
    for place, (each, interval) in enumerate(values):
        axis.plot(each, [place] * len(each), "o", ms=3, mfc="none", mec=COLORS[0], mew=0.8, alpha=0.7)
        if not each:
            continue
        mean = float(np.mean(each))
        if interval is not None:
            axis.plot(interval, [place] * 2, color=COLORS[0], lw=1.4, alpha=0.5)
        axis.plot(mean, place, "o", ms=6, color=COLORS[0])
    names = [f"{line.variant} ({line.remark})" if line.remark else line.variant for line in lines]
    axis.set_yticks(range(len(lines)), names, parse_math=False)
    axis.set_ylim(len(lines) - 0.5, -0.5)
    if not lines[0].by_return:
        axis.set_xlim(-0.02, 1.02)
    dress(axis, title, grid="x")
