"""Draw learning curves from plain rows. Runs and studies use the same function."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from residual_rl.optional import REPORTS, need
from residual_rl.statistics import bootstrap_interval, wilson_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASE_COLOR = "#D55E00"  # Okabe and Ito's colours, which are distinct for all kinds of colour vision
COLORS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
METHOD_NAMES = {"rpl": "base + residual", "scratch": "from scratch", "expert-explore": "expert explores"}
NAME_GAP = 0.08  # least distance between the names of two lines, as a share of the axis

Rows = Sequence[Mapping[str, Any]]
NameOf = Callable[[Mapping[str, Any]], str]


class Columns(NamedTuple):
    """The columns of the measure in a row of evaluations."""

    title: str
    value: str
    low: str
    high: str
    base: str
    acting: str
    """Column of `metrics.csv`: the same of training episodes; empty if there is none."""


COLUMNS_BY_MEASURE: dict[str, Columns] = {
    "success": Columns("success rate", "success_rate", "low", "high", "base_success_rate", "acting_success_rate"),
    "return": Columns("mean return", "mean_return", "return_low", "return_high", "base_mean_return", "acting_mean_return"),
    "time": Columns("mean time", "mean_time", "time_low", "time_high", "base_mean_time", ""),
}


def columns_of(row: Mapping[str, Any]) -> Columns:
    """Return the columns of a row's measure: success, unless `measured_by` says return."""
    return COLUMNS_BY_MEASURE[str(row.get("measured_by", "success"))]


def learning_curve(
    rows: Rows,
    *,
    acting: Sequence[tuple[float, float]] = (),
    burn_in: Sequence[tuple[float, float]] = (),
    selected: float | None = None,
    width: float = 7.2,
) -> "Figure":
    """Draw success rate or mean return, by the task's measure, over environment steps, with a panel for each task.

    A line is a task's method and preset: one seed with the interval of its evaluations, or the mean of several seeds with a
    bootstrap interval; the seeds are thin lines. The base is a horizontal line with its interval. The lines of a study are its
    variants; a name shows if trials are not finished. A dotted line is a published number.

    Args:
        rows: evaluations with `task, method, preset, seed, step, success_rate, low, high, base_success_rate, episodes`; if they
            have `controller` and `run`, these distinguish lines and seeds. Rows whose `measured_by` is "return" need
            `mean_return, return_low, return_high, base_mean_return, base_return_low, base_return_high` instead. Rows of a
            study, which have `variant`, `state` and `paper`, are named by their variant.
        acting: `step, success rate` or `step, mean return` of training episodes, to draw them too.
        burn_in: the first and the last step of each burn-in.
        selected: the step of the selected policy.
        width: inches.
    """
    need("matplotlib", *REPORTS)
    from matplotlib.figure import Figure

    name_of = _naming(rows)
    rows = [row for row in rows if str(row["step"])]  # a trial without an evaluation has a row without numbers
    panels = list(dict.fromkeys(map(_panel_of, rows)))
    columns = min(max(len(panels), 1), max(1, int(width // 3.4)))
    lines = -(-max(len(panels), 1) // columns)
    figure = Figure(figsize=(width, lines * (3.1 if columns == 1 else 2.5)), layout="constrained")
    alike = all(
        measured == COLUMNS_BY_MEASURE["success"] for _, measured in panels
    )  # returns of different tasks cannot share an axis
    axes = np.ravel(figure.subplots(lines, columns, squeeze=False, sharey=alike))
    for unused in axes[len(panels) :]:
        unused.remove()
    drawn = [row for row in rows if row["method"] != "initial"]
    keys = {name_of(row): row.get("variant") or name_of(row) for row in drawn}  # a variant has the same colour in every panel
    color_of = dict(zip(dict.fromkeys(keys.values()), itertools.cycle(COLORS), strict=False))
    colors = {name: color_of[key] for name, key in keys.items()}
    for place, (axis, (task, measured)) in enumerate(zip(axes, panels, strict=False)):
        inside = [row for row in rows if _panel_of(row) == (task, measured)]
        _panel(axis, inside, measured, name_of, colors, acting, burn_in, selected)
        dress(axis, measured.title if len(panels) == 1 else task, grid="y")
        axis.spines["bottom"].set(visible=True, color="#999")
        if len(panels) > 1 and (place % columns == 0 or not alike):
            axis.set_ylabel(measured.title, fontsize=8.5, color="#555")
    return figure


def calibration(points: Sequence[tuple[float, float]], width: float) -> "Figure":
    """Draw the critics' predictions against the discounted returns that followed, with the line of equality."""
    need("matplotlib", *REPORTS)
    from matplotlib.figure import Figure

    predicted, followed = np.array(points).T
    figure = Figure(figsize=(width, width), layout="constrained")
    axis = figure.subplots()
    ends = min(predicted.min(), followed.min()), max(predicted.max(), followed.max())
    axis.plot(ends, ends, color=BASE_COLOR, lw=1.2)
    axis.plot(predicted, followed, "o", ms=3, mfc=COLORS[0], mec="none", alpha=0.45)
    axis.set_xlabel("predicted value", fontsize=8.5, color="#555")
    dress(axis, "discounted return that followed")
    return figure


def dress(axis: Any, title: str, grid: Literal["both", "x", "y"] = "both") -> None:
    """Style a panel: title at the left, small grey numbers, faint grid lines, no frame."""
    axis.set_title(title, loc="left", fontsize=9, color="#555", pad=8, parse_math=False)
    axis.tick_params(labelsize=8, length=0, colors="#555")
    axis.grid(axis=grid, color="#000", alpha=0.08, lw=0.6)
    axis.set_axisbelow(True)
    axis.spines[:].set_visible(False)


def _panel_of(row: Mapping[str, Any]) -> tuple[str, Columns]:
    """Return the panel of a row: its task and the columns of the measure."""
    return str(row["task"]), columns_of(row)


def _panel(
    axis: Any,
    rows: Rows,
    measured: Columns,
    name_of: NameOf,
    colors: Mapping[str, str],
    acting: Sequence[tuple[float, float]],
    burn_in: Sequence[tuple[float, float]],
    selected: float | None,
) -> None:
    """Draw one task: base, lines, and their names at the right end."""
    last = max(float(row["step"]) for row in rows) or 1.0
    ends: list[tuple[float, str, str]] = []
    for start, end in burn_in:
        axis.axvspan(start, end, color="#000", alpha=0.05, lw=0)
    if burn_in:
        left = burn_in[0][0] + 0.008 * last  # inside the axis, however short the burn-in
        style = {"ha": "left", "va": "bottom", "fontsize": 7.5, "color": "#777"}
        axis.text(left, 0.02, "burn-in", transform=axis.get_xaxis_transform(), **style)
    for name, value, (low, high) in _bases(rows):
        axis.fill_between([0, last], low, high, color=BASE_COLOR, alpha=0.12, lw=0)
        axis.plot([0, last], [value, value], color=BASE_COLOR, lw=1.4)
        ends.append((value, name, BASE_COLOR))
    if acting:
        steps, values = zip(*acting, strict=True)
        axis.plot(steps, values, color="#777", lw=0.9)
        ends.append((values[-1], "during training", "#777"))
    published = {name_of(row): float(row["paper"]) for row in rows if str(row.get("paper", "")) and row["method"] != "initial"}
    for name, series in _lines(rows, name_of).items():
        color = colors[name]
        if name in published:
            axis.plot([0, last], [published[name]] * 2, color=color, lw=1.1, ls=":")
        steps, mean, low, high = _summary(series)
        axis.fill_between(steps, low, high, color=color, alpha=0.18, lw=0)
        axis.plot(steps, mean, color=color, lw=2)
        if len(series) > 1:
            for one in series:
                axis.plot([row["step"] for row in one], [row["value"] for row in one], color=color, lw=0.7, alpha=0.45)
        ends.append((float(np.mean([one[-1]["value"] for one in series])), name, color))
        if selected in steps:
            at = (selected, mean[steps.index(selected)])
            axis.plot(*at, "o", ms=8, mfc="white", mec=color, mew=2, clip_on=False)
            side = "right" if selected > 0.8 * last else "center"
            axis.annotate("selected", at, (0, 8), textcoords="offset points", fontsize=7.5, color=color, ha=side, va="bottom")
    axis.set(xlim=(0, last))
    axis.set_xlabel("environment steps", fontsize=8.5, color="#555")
    axis.locator_params(axis="x", nbins=5)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value else "0")
    if measured == COLUMNS_BY_MEASURE["success"]:
        axis.set(ylim=(0, 1.03), yticks=np.linspace(0, 1, 6))
        _name_ends(axis, last, ends)
    else:
        axis.margins(y=0.08)
        _name_ends(axis, last, ends, *axis.get_ylim())


def _name_ends(axis: Any, last: float, ends: list[tuple[float, str, str]], bottom: float = 0.0, ceiling: float = 1.0) -> None:
    """Write each line's name at its end; move names apart if they would overlap."""
    ends, gap = sorted(ends), NAME_GAP * (ceiling - bottom)
    heights = [value for value, _, _ in ends]
    for index in range(1, len(ends)):
        heights[index] = max(heights[index], heights[index - 1] + gap)
    for index in reversed(range(len(ends))):
        heights[index] = ceiling = min(heights[index], ceiling)
        ceiling -= gap
    for height, (_, name, color) in zip(heights, ends, strict=True):
        at, style = (last, height), {"va": "center", "fontsize": 8.5, "color": color}
        axis.annotate(name, at, (6, 0), textcoords="offset points", parse_math=False, **style)


def _lines(rows: Rows, name_of: NameOf) -> dict[str, list[list[Mapping[str, Any]]]]:
    """Return for each line the rows `step, value, low, high` of its seeds, in the order of their steps."""
    lines: dict[str, dict[Any, list[Mapping[str, Any]]]] = {}
    for row in sorted(rows, key=lambda row: float(row["step"])):
        if row["method"] == "initial":
            continue  # drawn as the base
        columns = columns_of(row)
        found = {"step": "step", "value": columns.value, "low": columns.low, "high": columns.high}
        numbers = {name: float(row[column]) for name, column in found.items()}
        lines.setdefault(name_of(row), {}).setdefault(row.get("run", row["seed"]), []).append(numbers)
    return {name: list(series.values()) for name, series in lines.items()}


def _naming(rows: Rows) -> NameOf:
    """Return a function that names a row's line: by its method if methods differ, and by the fields that differ within it."""
    if rows and "variant" in rows[0]:
        return _naming_variants(rows)
    methods = {row["method"] for row in rows}
    seen: dict[tuple[Any, ...], set[Any]] = {}
    for row in rows:
        for field in ("preset", "controller"):
            seen.setdefault((field, row["method"], row["task"]), set()).add(row.get(field))
    differing = {(field, method) for (field, method, _), values in seen.items() if len(values) > 1}

    def name_of(row: Mapping[str, Any]) -> str:
        method = str(row["method"])
        parts = [str(row[field]) for field in ("preset", "controller") if (field, method) in differing]
        if len(methods) > 1 or not parts:
            parts.insert(0, METHOD_NAMES.get(method, method))
        return ", ".join(parts)

    return name_of


def _naming_variants(rows: Rows) -> NameOf:
    """Return a function that names a study's row: its variant, and how many of its trials are not finished."""
    states: dict[tuple[Any, Any], dict[Any, str]] = {}
    for row in rows:
        states.setdefault((row["task"], row["variant"]), {})[row["seed"]] = row["state"]

    def name_of(row: Mapping[str, Any]) -> str:
        seeds = states[row["task"], row["variant"]].values()
        open_ = sum(state != "finished" for state in seeds)
        return f"{row['variant']} ({open_} of {len(seeds)} not finished)" if open_ else str(row["variant"])

    return name_of


def _summary(series: list[list[Mapping[str, Any]]]) -> tuple[list[float], np.ndarray, np.ndarray, np.ndarray]:
    """Return steps, mean and 95 % interval of a line, up to the last step that all of its seeds have reached.

    If episodes end early, seeds are evaluated at different steps. The values of a seed are then interpolated linearly.
    """
    if len(series) == 1:
        values = [np.array([row[key] for row in series[0]]) for key in ("value", "low", "high")]
        return [row["step"] for row in series[0]], values[0], values[1], values[2]
    end = min(one[-1]["step"] for one in series)
    steps = sorted({row["step"] for one in series for row in one if row["step"] <= end})
    ways = [([row["step"] for row in one], [row["value"] for row in one]) for one in series]
    values = np.array([np.interp(steps, *way) for way in ways])  # [seeds, steps]
    return steps, values.mean(axis=0), *bootstrap_interval(values)


def _bases(rows: Rows) -> Iterable[tuple[str, float, tuple[float, float]]]:
    """Yield name, success rate or mean return, and interval of each base, averaged over the runs with the most episodes.

    If there are other methods, leave out the base of learning from scratch, which does nothing.
    """
    shown = [row for row in rows if row["method"] != "scratch"] or rows
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for row in shown:
        by_name.setdefault(str(row.get("controller", "base")), []).append(row)
    for name, of_base in by_name.items():
        episodes = max(round(float(row["episodes"])) for row in of_base)
        largest = [row for row in of_base if round(float(row["episodes"])) == episodes]
        runs = {(row.get("variant"), row.get("run", row["seed"])): row for row in largest}.values()
        columns = columns_of(of_base[0])
        value = float(np.mean([float(row[columns.base]) for row in runs]))
        if columns == COLUMNS_BY_MEASURE["success"]:
            interval = wilson_interval(round(value * episodes), episodes)
        else:
            low, high = (np.mean([float(row[end]) for row in runs]) for end in ("base_return_low", "base_return_high"))
            interval = float(low), float(high)
        yield "base" if len(by_name) == 1 else name, value, interval
