"""What a person looks at: one HTML file that needs no server, no network and no script.

A learning curve is drawn from plain rows, so that the figures of a study come from the same function as a run's.
"""

import base64
import importlib
import io
import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from residual_rl import run as files
from residual_rl.config import Config, to_json
from residual_rl.errors import ResidualRLError, RunError
from residual_rl.evaluation import wilson_interval
from residual_rl.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASE_COLOR = "#D55E00"  # Okabe and Ito's colours, which differ for every kind of colour vision
COLORS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
ACTING_EPISODES = 100
"""Length of the moving average of the success while learning."""
RESAMPLES = 2_000
SEVERAL = (
    "Thick: the mean over seeds with its 95 % bootstrap interval, as far as all of them have come; thin: each seed. "
    "A single seed has the interval of its evaluation episodes."
)
METHOD_NAMES = {"rpl": "base + residual", "scratch": "from scratch"}
WIDE, NARROW = 7.2, 3.7  # inches: for a laptop, for a phone
NAME_GAP = 0.08  # in units of the success axis, between the names of two lines

Rows = Sequence[Mapping[str, Any]]
NameOf = Callable[[Mapping[str, Any]], str]


def write_report(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Writes the report of a run, or the comparison of several, and returns where it is.

    Args:
        runs: run directories, finished or not.
        out: the HTML file; None for `report.html` in the run, or in the directory that holds all of several runs.

    Raises:
        RunError: a directory is no run, or the file cannot be written.
        ResidualRLError: matplotlib or jinja2 is not installed.
    """
    runs = [Path(run) for run in runs]
    if not runs:
        raise ResidualRLError("a report needs at least one run directory")
    for package in ("matplotlib", "jinja2"):
        _extra(package)
    if out is None:
        parents = [os.path.abspath(run if len(runs) == 1 else run.parent) for run in runs]
        out = Path(os.path.commonpath(parents))
    out = Path(out) / "report.html" if Path(out).is_dir() else Path(out)
    html = _page(_of_one(runs[0]) if len(runs) == 1 else _of_several(runs))
    beside = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(html, encoding="utf-8")
        os.replace(beside, out)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error}") from error
    return out


# --- learning curves ---------------------------------------------------------------------------------------------------------


def learning_curve(
    rows: Rows,
    *,
    acting: Sequence[tuple[float, float]] = (),
    burn_in: Sequence[tuple[float, float]] = (),
    selected: float | None = None,
    width: float = WIDE,
) -> "Figure":
    """Success rate over environment steps, a panel for each task.

    A line with its interval is a task's method and preset: one seed with the interval of its evaluations, or the mean of
    several with a bootstrap interval over the seeds, which appear as thin lines. The base is horizontal, with its interval.

    Args:
        rows: evaluations with `task, method, preset, seed, step, success_rate, low, high, base_success_rate, episodes`; where
            they have `controller` and `run` too, those tell lines and seeds apart.
        acting: `step, success rate` while learning, if it is to be seen.
        burn_in: the first and the last step of each stretch in which only the critic learns.
        selected: the step of the selected policy.
        width: inches.
    """
    _extra("matplotlib")
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(str(row["task"]) for row in rows))
    columns = min(max(len(tasks), 1), max(1, int(width // 3.4)))
    lines = -(-max(len(tasks), 1) // columns)
    figure = Figure(figsize=(width, lines * (3.1 if columns == 1 else 2.5)), layout="constrained")
    axes = np.ravel(figure.subplots(lines, columns, squeeze=False, sharey=True))
    if len(tasks) > 1:
        for axis in axes[::columns]:
            axis.set_ylabel("success rate", fontsize=8.5, color="#555")
    for unused in axes[len(tasks) :]:
        unused.remove()
    name_of = _naming(rows)
    colors = dict(zip(dict.fromkeys(map(name_of, rows)), itertools.cycle(COLORS), strict=False))
    for axis, task in zip(axes, tasks, strict=False):
        _panel(axis, [row for row in rows if row["task"] == task], name_of, colors, acting, burn_in, selected)
        axis.set_title("success rate" if len(tasks) == 1 else task, loc="left", fontsize=9, color="#555", pad=8)
    return figure


def _panel(
    axis: Any,
    rows: Rows,
    name_of: NameOf,
    colors: Mapping[str, str],
    acting: Sequence[tuple[float, float]],
    burn_in: Sequence[tuple[float, float]],
    selected: float | None,
) -> None:
    """One task: base, lines, and their names at the right end."""
    last = max(float(row["step"]) for row in rows) or 1.0
    ends: list[tuple[float, str, str]] = []
    for start, end in burn_in:
        axis.axvspan(start, end, color="#000", alpha=0.05, lw=0)
    if burn_in:
        middle = (burn_in[0][0] + burn_in[-1][1]) / 2
        axis.text(middle, 1.0, "burn-in", ha="center", va="top", fontsize=7.5, color="#777")
    for name, rate, (low, high) in _bases(rows):
        axis.fill_between([0, last], low, high, color=BASE_COLOR, alpha=0.12, lw=0)
        axis.plot([0, last], [rate, rate], color=BASE_COLOR, lw=1.4)
        ends.append((rate, name, BASE_COLOR))
    if acting:
        steps, rates = zip(*acting, strict=True)
        axis.plot(steps, rates, color="#777", lw=0.9)
        ends.append((rates[-1], "while learning", "#777"))
    for name, series in _lines(rows, name_of).items():
        color = colors[name]
        steps, rate, low, high = _summary(series)
        axis.fill_between(steps, low, high, color=color, alpha=0.18, lw=0)
        axis.plot(steps, rate, color=color, lw=2)
        if len(series) > 1:
            for one in series:
                axis.plot([row["step"] for row in one], [row["success_rate"] for row in one], color=color, lw=0.7, alpha=0.45)
        ends.append((float(np.mean([one[-1]["success_rate"] for one in series])), name, color))
        if selected in steps:
            at = (selected, rate[steps.index(selected)])
            axis.plot(*at, "o", ms=8, mfc="white", mec=color, mew=2, clip_on=False)
            side = "right" if selected > 0.8 * last else "center"
            axis.annotate("selected", at, (0, 8), textcoords="offset points", fontsize=7.5, color=color, ha=side, va="bottom")
    _name_ends(axis, last, ends)
    _dress(axis, last)


def _dress(axis: Any, last: float) -> None:
    axis.set(xlim=(0, last), ylim=(0, 1.03), yticks=np.linspace(0, 1, 6))
    axis.set_xlabel("environment steps", fontsize=8.5, color="#555")
    axis.locator_params(axis="x", nbins=5)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value else "0")
    axis.tick_params(labelsize=8, length=0, colors="#555")
    axis.grid(axis="y", color="#000", alpha=0.08, lw=0.6)
    axis.set_axisbelow(True)
    for side, spine in axis.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color("#999")


def _name_ends(axis: Any, last: float, ends: list[tuple[float, str, str]]) -> None:
    """Writes each line's name where it ends, moved apart where they would overlap."""
    ends = sorted(ends)
    heights = [rate for rate, _, _ in ends]
    for index in range(1, len(ends)):
        heights[index] = max(heights[index], heights[index - 1] + NAME_GAP)
    ceiling = 1.0
    for index in reversed(range(len(ends))):
        heights[index] = ceiling = min(heights[index], ceiling)
        ceiling -= NAME_GAP
    for height, (_, name, color) in zip(heights, ends, strict=True):
        at, style = (last, height), {"va": "center", "fontsize": 8.5, "color": color}
        axis.annotate(name, at, (6, 0), textcoords="offset points", parse_math=False, **style)


def _lines(rows: Rows, name_of: NameOf) -> dict[str, list[list[Mapping[str, Any]]]]:
    """Name of each line, and its seeds' rows in the order of their steps."""
    lines: dict[str, dict[Any, list[Mapping[str, Any]]]] = {}
    for row in sorted(rows, key=lambda row: float(row["step"])):
        numbers = {key: float(row[key]) for key in ("step", "success_rate", "low", "high")}
        lines.setdefault(name_of(row), {}).setdefault(row.get("run", row["seed"]), []).append(numbers)
    return {name: list(series.values()) for name, series in lines.items()}


def _naming(rows: Rows) -> NameOf:
    """What to call a row's line: its method where methods differ, and what differs between rows of its task and method."""
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


def _summary(series: list[list[Mapping[str, Any]]]) -> tuple[list[float], np.ndarray, np.ndarray, np.ndarray]:
    """Steps, mean and 95 % interval of a line, at the steps that all of its seeds have reached."""
    if len(series) == 1:
        values = [np.array([row[key] for row in series[0]]) for key in ("success_rate", "low", "high")]
        return [row["step"] for row in series[0]], values[0], values[1], values[2]
    by_step = [{row["step"]: row["success_rate"] for row in one} for one in series]
    steps = sorted(set.intersection(*(set(one) for one in by_step)))
    rates = np.array([[one[step] for step in steps] for one in by_step])  # [seeds, steps]
    drawn = np.random.default_rng(0).integers(len(series), size=(RESAMPLES, len(series)))
    low, high = np.quantile(rates[drawn].mean(axis=1), (0.025, 0.975), axis=0)
    return steps, rates.mean(axis=0), low, high


def _bases(rows: Rows) -> Iterable[tuple[str, float, tuple[float, float]]]:
    """Name, success rate and interval of each base, as its largest evaluation has it.

    Next to other methods the base of a learner from scratch, which does nothing, goes without saying.
    """
    shown = [row for row in rows if row["method"] != "scratch"] or rows
    largest: dict[str, tuple[int, float]] = {}
    for row in shown:
        size = (round(float(row["episodes"])), float(row["base_success_rate"]))
        name = str(row.get("controller", "base"))
        largest[name] = max(largest.get(name, size), size)
    for name, (episodes, rate) in largest.items():
        yield "base" if len(largest) == 1 else name, rate, wilson_interval(round(rate * episodes), episodes)


# --- what a page says --------------------------------------------------------------------------------------------------------


def _of_one(path: Path) -> dict[str, Any]:
    """The content of a run's page."""
    config, verdict = files.read_config(path), _verdict(path)
    rows, metrics = _rows(path, config), files.read_rows(path / "metrics.csv")
    step = round(metrics[-1]["step"]) if metrics else 0
    burn_in = _burn_in(metrics)
    acting = _moving_average(metrics, max(1, round(ACTING_EPISODES / config.episodes_per_cycle)))
    caption = (
        f"Mean of {config.evaluation_episodes} evaluation episodes with its 95 % interval; the grey line is the moving average"
        f" of the last {ACTING_EPISODES} training episodes, the ring is the policy that was selected."
    )
    strips, reason = _film(path) if verdict else ([], "")
    return {
        "title": f"{config.task}, {config.method}, seed {config.seed}",
        "state": _state(verdict),
        "headline": _headline(verdict),
        "detail": str(verdict) if verdict else _unfinished(step, config),
        "facts": {name: getattr(config, name) for name in ("task", "controller", "method", "preset", "seed")},
        "figures": _figures(rows, caption, acting=acting, burn_in=burn_in, selected=_selected_step(path)),
        "verdict": verdict,
        "strips": strips,
        "no_strips": reason,
        "provenance": {str(path.name): _provenance(path, config)},
    }


def _of_several(paths: list[Path]) -> dict[str, Any]:
    """The content of a comparison."""
    configs, verdicts = [files.read_config(path) for path in paths], [_verdict(path) for path in paths]
    names = [os.path.relpath(path, os.path.commonpath([os.path.abspath(path.parent) for path in paths])) for path in paths]
    promoted = sum(bool(verdict and verdict.promoted) for verdict in verdicts)
    unfinished = verdicts.count(None)
    tasks = list(dict.fromkeys(config.task for config in configs))
    figures = []
    for task in tasks:
        rows = [
            row | {"run": name}
            for name, path, config in zip(names, paths, configs, strict=True)
            if config.task == task
            for row in _rows(path, config)
        ]
        figures += _figures(rows, f"{task}. {SEVERAL}")
    return {
        "title": f"{', '.join(tasks)}: {len(paths)} runs",
        "state": "promoted" if promoted == len(paths) else "unfinished" if unfinished else "kept",
        "headline": f"{promoted} of {len(paths)} runs promoted" + (f", {unfinished} unfinished" if unfinished else ""),
        "detail": "A run is promoted only if the 95 % interval of the paired difference excludes a loss.",
        "facts": {"task": ", ".join(tasks)},
        "figures": figures,
        "comparison": list(zip(names, configs, verdicts, strict=True)),
        "provenance": {name: _provenance(*run) for name, run in zip(names, zip(paths, configs, strict=True), strict=True)},
    }


def _verdict(path: Path) -> Verdict | None:
    return files.read_verdict(path) if (path / "verdict.json").exists() else None


def _state(verdict: Verdict | None) -> str:
    if verdict is None:
        return "unfinished"
    return "promoted" if verdict.promoted else "kept"


def _headline(verdict: Verdict | None) -> str:
    if verdict is None:
        return "No verdict yet: the run is unfinished"
    if verdict.promoted:
        return f"Promoted: success rate {verdict.base.success_rate:.3f} → {verdict.policy.success_rate:.3f}"
    return "Not promoted: the base is delivered unchanged"


def _unfinished(step: int, config: Config) -> str:
    return f"{step:,} of {config.steps:,} environment steps are done. The same training, started again, goes on from there."


def _rows(path: Path, config: Config) -> list[dict[str, Any]]:
    """A run's evaluations, with what tells it from others."""
    origin = {name: getattr(config, name) for name in ("task", "method", "preset", "seed", "controller")}
    return [origin | row for row in files.read_rows(path / "evaluations.csv")]


def _selected_step(path: Path) -> int | None:
    try:
        return files.read_policy(path)[2]
    except RunError:
        return None


def _burn_in(metrics: Rows) -> list[tuple[float, float]]:
    """First and last step of each stretch of cycles in which only the critic learned."""
    stretches: list[tuple[float, float]] = []
    previous = 0.0
    for row in metrics:
        if row["burn_in"]:
            joined = bool(stretches) and stretches[-1][1] == previous
            start = stretches.pop()[0] if joined else previous
            stretches.append((start, row["step"]))
        previous = row["step"]
    return stretches


def _moving_average(metrics: Rows, cycles: int) -> list[tuple[float, float]]:
    """Step and mean success while learning over the last `cycles` cycles, once there are so many."""
    kept = [(row["step"], row["acting_success_rate"]) for row in metrics if np.isfinite(row["acting_success_rate"])]
    if len(kept) < cycles:
        return []
    means = np.convolve([rate for _, rate in kept], np.full(cycles, 1 / cycles), mode="valid")
    return [(step, float(mean)) for (step, _), mean in zip(kept[cycles - 1 :], means, strict=True)]


def _film(path: Path) -> tuple[list[dict[str, Any]], str]:
    """Film strips with their frames as data addresses."""
    from residual_rl.film import film_strips, png

    strips, reason = film_strips(path)
    shown = []
    for strip in strips:
        rows = []
        for row in strip.rows:
            addresses = [_data_address(png(frame)) for frame in row.frames]
            rows.append(row._asdict() | {"frames": list(zip(strip.steps.tolist(), addresses, strict=True))})
        shown.append({"kind": strip.kind, "rows": rows})
    return shown, reason


def _data_address(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()


def _figures(rows: Rows, caption: str, **marks: Any) -> list[dict[str, str]]:
    """A learning curve as SVG in two widths, or none where nothing was evaluated."""
    if not rows:
        return []
    widths = {"wide": WIDE, "narrow": NARROW}
    drawn = {name: _svg(learning_curve(rows, width=width, **marks), caption + name) for name, width in widths.items()}
    return [drawn | {"caption": caption}]


def _svg(figure: "Figure", salt: str) -> str:
    import matplotlib

    buffer = io.StringIO()
    # Figures on one page must not share the ids that their salt makes; text stays text, in the page's own font.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]


def _provenance(path: Path, config: Config) -> dict[str, str]:
    """Every entry of the configuration and of what made the run, by its dotted name."""
    made_by = json.loads((path / "config.json").read_text()).get("made_by", {})
    return dict(_flat(to_json(config))) | dict(_flat(made_by))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, str(value)


def _extra(package: str) -> None:
    try:
        importlib.import_module(package)
    except ModuleNotFoundError:
        raise ResidualRLError(f"reports and figures need {package}: pip install 'residual-rl[report]'") from None


def _page(content: Mapping[str, Any]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["rate"] = "{:.3f}".format
    environment.filters["interval"] = lambda pair: "{:.3f} to {:.3f}".format(*pair)
    environment.filters["p"] = lambda p: f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"
    empty = {"verdict": None, "comparison": [], "strips": [], "no_strips": ""}
    return environment.from_string(PAGE).render(empty | dict(content))


PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
  :root { --text: #1c1e21; --quiet: #62666d; --line: #e3e4e6; --base: #B34F00; --policy: #0072B2; }
  * { box-sizing: border-box; }
  body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.25rem 4rem; color: var(--text); background: #fff;
         font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
  header { border-left: 6px solid #8a8f98; padding-left: 1.1rem; margin-bottom: 2rem; }
  header.promoted { border-color: #009E73; }
  header.kept { border-color: #D55E00; }
  h1 { font-size: clamp(1.5rem, 4.5vw, 2.3rem); line-height: 1.15; letter-spacing: -.015em; margin: 0 0 .5rem; }
  header p { margin: 0; }
  .facts { display: flex; flex-wrap: wrap; gap: .2rem 1.6rem; margin: 1rem 0 0; font-size: .9rem; }
  .facts div { display: flex; gap: .4rem; }
  .facts dt { color: var(--quiet); }
  .facts dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
  h2 { font-size: 1.15rem; margin: 2.8rem 0 .8rem; }
  h3 { font-size: 1rem; margin: 1.8rem 0 .4rem; }
  figure { margin: 0; }
  figcaption, .note { color: var(--quiet); font-size: .87rem; max-width: 46rem; }
  figure svg { display: block; width: 100%; height: auto; }
  svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif !important; }
  .narrow { display: none; }
  .scroll { overflow-x: auto; }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .95rem; }
  th, td { padding: .45rem .9rem .45rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
  th { font-weight: 600; }
  tbody th { font-weight: 400; }
  small { color: var(--quiet); white-space: nowrap; }
  .base { color: var(--base); }
  .policy { color: var(--policy); }
  .numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1rem; margin: 1.4rem 0 0; }
  .numbers dt { color: var(--quiet); font-size: .87rem; }
  .numbers dd { margin: 0; font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums; }
  .numbers small { display: block; font-size: .87rem; font-weight: 400; }
  .film { display: grid; grid-template-columns: repeat(6, 1fr); gap: 3px; margin-bottom: .9rem; }
  .film img { display: block; width: 100%; }
  .film figcaption { font-size: .75rem; }
  .film-name { margin: .3rem 0; font-size: .92rem; }
  details { border-top: 1px solid var(--line); padding: .7rem 0; }
  summary { cursor: pointer; }
  .entries { display: grid; grid-template-columns: minmax(9rem, auto) 1fr; gap: .1rem 1.2rem; font-size: .85rem; }
  .entries dt { color: var(--quiet); overflow-wrap: anywhere; }
  .entries dd { margin: 0; overflow-wrap: anywhere; }
  @media (max-width: 40rem) {
    body { padding-top: 1.4rem; }
    .wide { display: none; }
    .narrow { display: block; }
    .film { grid-template-columns: repeat(3, 1fr); }
  }
</style>
</head>
<body>
<header class="{{ state }}">
  <h1>{{ headline }}</h1>
  <p>{{ detail }}</p>
  <dl class="facts">
  {% for name, value in facts.items() %}
    <div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>
  {% endfor %}
  </dl>
</header>

<h2>Learning curve</h2>
{% for figure in figures %}
<figure>
  <div class="wide" role="img" aria-label="Learning curve">{{ figure.wide | safe }}</div>
  <div class="narrow" role="img" aria-label="Learning curve">{{ figure.narrow | safe }}</div>
  <figcaption>{{ figure.caption }}</figcaption>
</figure>
{% else %}
<p class="note">No evaluation yet.</p>
{% endfor %}

{% if verdict %}
<h2>Base and base + residual, from the same {{ verdict.episodes }} initial states</h2>
<div class="scroll">
<table>
  <thead><tr><th></th><th class="base">base</th><th class="policy">base + residual</th></tr></thead>
  <tbody>
  <tr><th>success rate</th>
    {% for side in (verdict.base, verdict.policy) %}
    <td>{{ side.success_rate | rate }} <small>{{ side.interval | interval }}</small></td>
    {% endfor %}</tr>
  <tr><th>mean return</th>
    {% for side in (verdict.base, verdict.policy) %}<td>{{ "%.1f" | format(side.mean_return) }}</td>{% endfor %}</tr>
  <tr><th>steps to success <small>median</small></th>
    {% for side in (verdict.base, verdict.policy) %}
    <td>{{ "none succeeds" if side.steps_to_success is none else "%.0f" | format(side.steps_to_success) }}</td>
    {% endfor %}</tr>
  <tr><th>deviation from the base <small>mean |action &minus; base action|</small></th>
    {% for side in (verdict.base, verdict.policy) %}<td>{{ side.deviation | rate }}</td>{% endfor %}</tr>
  <tr><th>jerk <small>mean |change of the action|</small></th>
    {% for side in (verdict.base, verdict.policy) %}<td>{{ side.jerk | rate }}</td>{% endfor %}</tr>
  </tbody>
</table>
</div>
<dl class="numbers">
  <div><dt>fixed</dt><dd>{{ verdict.fixed }}<small>only the base fails</small></dd></div>
  <div><dt>broken</dt><dd>{{ verdict.broken }}<small>only base + residual fails</small></dd></div>
  <div><dt>difference</dt><dd>{{ "%+.3f" | format(verdict.difference) }}
    <small>{{ verdict.difference_interval | interval }}</small></dd></div>
  <div><dt>p-value</dt><dd>{{ verdict.p_value | p }}<small>exact McNemar test</small></dd></div>
</dl>
<p class="note">Ranges are 95 % intervals. None of these initial states took part in training or in selecting the policy.
Promoted means: the interval of the difference excludes a loss.</p>
{% endif %}

{% if comparison %}
<h2>Runs</h2>
<div class="scroll">
<table>
  <thead><tr><th>run</th><th>method</th><th>preset</th><th>seed</th><th class="base">base</th><th class="policy">policy</th>
  <th>difference</th><th>fixed</th><th>broken</th><th>p</th><th>verdict</th></tr></thead>
  <tbody>
  {% for name, config, verdict in comparison %}
  <tr><th>{{ name }}</th><td>{{ config.method }}</td><td>{{ config.preset }}</td><td>{{ config.seed }}</td>
  {% if verdict %}
    <td>{{ verdict.base.success_rate | rate }}<br><small>{{ verdict.base.interval | interval }}</small></td>
    <td>{{ verdict.policy.success_rate | rate }}<br><small>{{ verdict.policy.interval | interval }}</small></td>
    <td>{{ "%+.3f" | format(verdict.difference) }}<br><small>{{ verdict.difference_interval | interval }}</small></td>
    <td>{{ verdict.fixed }}</td><td>{{ verdict.broken }}</td><td>{{ verdict.p_value | p }}</td>
    <td>{{ "promoted" if verdict.promoted else "not promoted" }}</td>
  {% else %}
    <td colspan="6"></td><td>unfinished</td>
  {% endif %}
  </tr>
  {% endfor %}
  </tbody>
</table>
</div>
<p class="note">Ranges are 95 % intervals.</p>
{% endif %}

{% if strips or no_strips %}
<h2>What it looks like</h2>
{% endif %}
{% if strips %}
<p class="note">Both start from the same state. The block is yellow, the line is its path so far, and an episode succeeds if the
block's centre is over the green disc at the end. Shown is the first episode of each kind that does not begin at its goal.</p>
{% for strip in strips %}
<h3>{{ {"fixed": "Fixed: only the base fails", "kept": "Kept: both succeed",
        "broken": "Broken: only base + residual fails"}[strip.kind] }}</h3>
{% for row in strip.rows %}
<p class="film-name"><strong class="{{ 'base' if row.policy == 'base' else 'policy' }}">{{ row.policy }}</strong>
{{ "✓" if row.success else "✗" }} {{ row.outcome }}</p>
<div class="film">
{% for step, address in row.frames %}
<figure><img src="{{ address }}" alt="{{ row.policy }} at step {{ step }}"><figcaption>step {{ step }}</figcaption></figure>
{% endfor %}
</div>
{% endfor %}
{% endfor %}
{% elif no_strips %}
<p class="note">No film strips: {{ no_strips }}.</p>
{% endif %}

<h2>Where it comes from</h2>
{% for name, entries in provenance.items() %}
<details><summary>Configuration and versions{{ " of " ~ name if provenance | length > 1 }}</summary>
<dl class="entries">
{% for key, value in entries.items() %}
<dt>{{ key }}</dt><dd>{{ value }}</dd>
{% endfor %}
</dl>
</details>
{% endfor %}
</body>
</html>
"""
