"""What a person looks at: one HTML file that needs no server, no network and no script."""

import base64
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residual_rl.config import Config, to_json
from residual_rl.diagnosis.diagnosis import Diagnosis
from residual_rl.errors import ResidualRLError, RunError
from residual_rl.optional import REPORTS, need
from residual_rl.reports.acting import ACTING_EPISODES, acting_average
from residual_rl.reports.figures import COLUMNS_BY_MEASURE, Rows, calibration, learning_curve
from residual_rl.reports.learned_model import draw_learned_model, read_learned_model
from residual_rl.runs import reading as files
from residual_rl.runs.files import EVALUATIONS_CSV, METRICS_CSV, VERDICT
from residual_rl.storage import write_whole
from residual_rl.verdict import Side, Verdict, in_digits, in_digits_apart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEVERAL = (
    "Thick: the mean over seeds with its 95 % bootstrap interval, as far as all of them have come; thin: each seed. "
    "A single seed has the interval of its evaluation episodes."
)
LINES = {
    True: f"the grey line is the moving average of the last {ACTING_EPISODES} training episodes, ",
    False: "a failed episode counts ten times the longest one; ",
}
WIDE, NARROW = 7.2, 3.7  # inches: for a laptop, for a phone


def write_report(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the report of a run, or the comparison of several, and return its path.

    Args:
        runs: run directories, finished or not.
        out: the HTML file; None for `report.html` in the run, or in the directory that holds all of several runs.

    Raises:
        RunError: a directory is no run, or the file cannot be written.
        ResidualRLError: matplotlib or jinja2 is not installed, or `out` is a table or a picture by its suffix.
    """
    runs = [Path(run) for run in runs]
    if not runs:
        raise ResidualRLError("a report needs at least one run directory")
    for package in ("matplotlib", "jinja2"):
        need(package, *REPORTS)
    if out is None:
        parents = [os.path.abspath(run if len(runs) == 1 else run.parent) for run in runs]
        out = Path(os.path.commonpath(parents))
    out = Path(out) / "report.html" if Path(out).is_dir() else Path(out)
    if out.suffix in (".md", ".svg", ".pdf", ".png"):
        raise ResidualRLError(f"a run's report is a page and ends in .html, not {out.suffix!r}")
    html = page(_of_one(runs[0]) if len(runs) == 1 else _of_several(runs))
    write_whole(out, lambda path: path.write_text(html, encoding="utf-8"))
    return out


def _of_one(path: Path) -> dict[str, Any]:
    """The content of a run's page."""
    config, verdict = files.read_config(path), _verdict(path)
    rows, metrics = _rows(path, config), files.read_rows(path / METRICS_CSV)
    step = round(metrics[-1]["step"]) if metrics else 0
    burn_in = _burn_in(metrics)
    acting_column = COLUMNS_BY_MEASURE[config.measured_by].acting
    acting = acting_average(metrics, acting_column, config.episodes_per_cycle) if acting_column else []
    caption = (
        f"Mean of {config.evaluation_episodes} evaluation episodes with its 95 % interval; {LINES[bool(acting_column)]}"
        "the ring is the policy that was selected."
    )
    strips, reason = _film(path) if verdict else ([], "")
    diagnosis = files.read_diagnosis(path)
    step_selected, policy = _selected(path)
    return {
        "title": f"{config.task}, {config.method}, seed {config.seed}",
        "state": _state(verdict),
        "headline": _headline(verdict),
        "detail": str(verdict) if verdict else _unfinished(step, config),
        "facts": {name: getattr(config, name) for name in ("task", "controller", "method", "preset", "seed")} | policy,
        "figures": drawn(rows, caption, acting=acting, burn_in=burn_in, selected=step_selected),
        "verdict": verdict,
        "diagnosis": diagnosis,
        "calibration": _calibration(diagnosis),
        "model": _learned_model(path),
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
        figures += drawn(rows, f"{task}. {SEVERAL}")
    return {
        "title": f"{', '.join(tasks)}: {len(paths)} runs",
        "state": "promoted" if promoted == len(paths) else "unfinished" if unfinished else "kept",
        "headline": f"{promoted} of {len(paths)} runs promoted" + (f", {unfinished} unfinished" if unfinished else ""),
        "detail": "A run is promoted only if the 96 % interval of the paired difference excludes a loss.",
        "facts": {"task": ", ".join(tasks)},
        "figures": figures,
        "comparison": list(zip(names, configs, verdicts, strict=True)),
        "provenance": {name: _provenance(*run) for name, run in zip(names, zip(paths, configs, strict=True), strict=True)},
    }


def _verdict(path: Path) -> Verdict | None:
    return files.read_verdict(path) if (path / VERDICT).exists() else None


def _state(verdict: Verdict | None) -> str:
    if verdict is None:
        return "unfinished"
    return "promoted" if verdict.promoted else "kept"


def _headline(verdict: Verdict | None) -> str:
    if verdict is None:
        return "No verdict yet: the run is unfinished"
    if verdict.promoted and verdict.measured_by == "time":
        return f"Promoted: {verdict.times}"
    if verdict.promoted:
        base, policy = _measured(verdict, verdict.base), _measured(verdict, verdict.policy)
        return f"Promoted: {COLUMNS_BY_MEASURE[verdict.measured_by].title} {base} → {policy}"
    return "Not promoted: the base is delivered unchanged"


def _measured(verdict: Verdict, side: Side) -> str:
    """What decided about a side, as text."""
    return (
        f"{side.success_rate:.3f}" if verdict.measured_by == "success" else _with_minus(side.mean_return, verdict.beside(side))
    )


def _with_minus(value: float, beside: float | None = None) -> str:
    return in_digits(value, beside).replace("-", "\N{MINUS SIGN}")


def _interval_with_minus(ends: tuple[float, float] | None) -> str:
    return " to ".join(in_digits_apart(ends)).replace("-", "\N{MINUS SIGN}") if ends else ""


def _unfinished(step: int, config: Config) -> str:
    return f"{step:,} of {config.steps:,} environment steps are done. Start the same training again to resume."


def _rows(path: Path, config: Config) -> list[dict[str, Any]]:
    """A run's evaluations, with what tells it from others."""
    origin = {name: getattr(config, name) for name in ("task", "method", "preset", "seed", "controller", "measured_by")}
    return [origin | row for row in files.read_rows(path / EVALUATIONS_CSV)]


def _selected(path: Path) -> tuple[int | None, dict[str, str]]:
    """Of the selected policy: its step, and a fact about it. Of a run that has none yet: None, and no fact."""
    try:
        _, config, step = files.read_policy(path)
    except RunError:
        return None, {}
    knobs = [f", no {name}" if value is None else f", {name} {value:g}" for name, value in config.algorithm.knobs.items()]
    return step, {"policy": f"of step {step:,}{''.join(knobs)}"}


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


def _film(path: Path) -> tuple[list[dict[str, Any]], str]:
    """Film strips with their frames as data addresses."""
    from residual_rl.pictures.film import film_strips
    from residual_rl.pictures.video import png

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


def drawn(rows: Rows, caption: str, draw: Callable[..., "Figure"] = learning_curve, **marks: Any) -> list[dict[str, str]]:
    """A figure as SVG in two widths, or none where nothing was evaluated."""
    if not rows:
        return []
    widths = {"wide": WIDE, "narrow": NARROW}
    drawn = {name: _svg(draw(rows, width=width, **marks), caption + name) for name, width in widths.items()}
    return [drawn | {"caption": caption}]


def _svg(figure: "Figure", salt: str) -> str:
    import matplotlib

    buffer = io.StringIO()
    # Figures on one page must not share the ids that their salt makes; text stays text, in the page's own font.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]


def _calibration(diagnosis: Diagnosis | None) -> str:
    """The calibration of the critics as SVG; empty where nothing was measured."""
    return _svg(calibration(diagnosis.calibration, NARROW), "calibration") if diagnosis and diagnosis.calibration else ""


def _learned_model(path: Path) -> dict[str, Any] | None:
    """The learned model of the run's base, if it has one."""
    model = read_learned_model(path)
    return model and {"figure": _svg(draw_learned_model(model, WIDE), "model"), "numbers": model.numbers}


def _provenance(path: Path, config: Config) -> dict[str, str]:
    """Every entry of the configuration and of what made the run, by its dotted name."""
    return dict(_flat(to_json(config))) | dict(_flat(files.read_made_by(path)))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, str(value)


def page(content: Mapping[str, Any]) -> str:
    """The HTML of a report."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("residual_rl.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["rate"] = "{:.3f}".format
    environment.filters["interval"] = lambda pair: "{:.3f} to {:.3f}".format(*pair)
    environment.filters["digits"] = _with_minus
    environment.filters["digits_interval"] = _interval_with_minus
    environment.filters["p"] = lambda p: f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"
    empty = {
        "model": None,
        "verdict": None,
        "diagnosis": None,
        "comparison": [],
        "strips": [],
        "no_strips": "",
        "table": None,
        "overall": [],
    }
    return environment.get_template("report.html.j2").render(empty | dict(content))
