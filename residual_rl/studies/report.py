"""Write page, figure and table of a study from its `results.csv`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residual_rl.errors import ResidualRLError
from residual_rl.optional import REPORTS, need
from residual_rl.reports.figures import Rows, learning_curve
from residual_rl.reports.report import SEVERAL, drawn, page
from residual_rl.storage import write_whole
from residual_rl.studies import STUDIES, comparison
from residual_rl.studies.dot_plot import dot_plot, too_many_for_curves
from residual_rl.studies.results import read_results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 9.5  # inches, of a figure in a file of its own
CAPTION = (
    f"Success at the last step, or mean return if the task is measured by it; means over seeds. Last: each seed's last"
    f" evaluation, with a bootstrap interval over the seeds, or for a single seed the interval of its episodes. Steps to"
    f" {comparison.SOLVED:g}: median over the seeds of the first evaluation that reached it, burn-in included. Lowest: of all"
    f" evaluations, and of all averages over 100 training episodes. Failed and unfinished trials are included with the"
    f" evaluations that they have."
)
DOTTED = "The base is orange; a dotted line is a published number."
DOTS = "Filled: mean over seeds with its bootstrap interval; hollow: each seed. Orange: the base; thin line: the first variant."


def write_study_report(results: Path, out: Path | None = None) -> Path:
    """Write the report of a study, and return its path.

    Args:
        results: the study's `results.csv`.
        out: the file; its suffix selects the content: `.html` a page, `.md` the table, `.svg`, `.pdf` or `.png` the figure.
            None for `report.html` beside the results.

    Raises:
        RunError: the file has no results of a study, or `out` cannot be written.
        ResidualRLError: matplotlib or jinja2 is not installed, or the suffix is unknown.
    """
    rows = read_results(results)
    out = out or results.with_name("report.html")
    if out.suffix == ".md":
        write_whole(out, lambda path: path.write_text(comparison.markdown(rows), encoding="utf-8"))
    elif out.suffix == ".html":
        for package in ("matplotlib", "jinja2"):
            need(package, *REPORTS)
        html = page(_content(rows))
        write_whole(out, lambda path: path.write_text(html, encoding="utf-8"))
    elif out.suffix in (".svg", ".pdf", ".png"):
        need("matplotlib", *REPORTS)
        import matplotlib

        metadata = {"Date": None} if out.suffix == ".svg" else None
        with matplotlib.rc_context({"svg.hashsalt": "study"}):  # the same rows, the same file
            draw, _ = _drawing(rows)
            figure = draw(rows, width=WIDTH)
            write_whole(out, lambda path: figure.savefig(path, format=out.suffix[1:], metadata=metadata))
    else:
        raise ResidualRLError(f"a study's report ends in .html, .md, .svg, .pdf or .png, not {out.suffix!r}")
    return out


def _content(rows: Rows) -> dict[str, Any]:
    """Return the content of a study's page."""
    name = str(rows[0]["study"])
    states = {(row["task"], row["variant"], row["seed"]): row["state"] for row in rows}
    counts = {state: list(states.values()).count(state) for state in ("finished", "unfinished", "failed")}
    others = [f"{count} {state}" for state, count in counts.items() if count and state != "finished"]
    figures = []
    for title, tasks in _figures_of(name, rows).items():
        shown = [row for row in rows if row["task"] in tasks]
        if comparison.rows_with_numbers(shown):
            draw, below = _drawing(shown)
            figures += drawn(shown, f"{title}. {below}", draw)
    lines = [comparison.cells(line) for line in comparison.compare_variants(rows)]
    return {
        "title": f"study {name}",
        "state": "kept" if others else "",
        "headline": f"Study {name}",
        "detail": STUDIES[name].summary if name in STUDIES else "",
        "facts": {"trials": len(states), "finished": ", ".join([str(counts["finished"]), *others])},
        "figures": figures,
        "table": {"columns": comparison.SUMMARY_COLUMNS, "lines": lines, "caption": CAPTION},
        "overall": comparison.overall(rows),
        "provenance": {
            str(versions): dict(entry.split("=", 1) for entry in str(versions).split() if "=" in entry)
            for versions in dict.fromkeys(row["versions"] for row in rows)
        },
    }


def _drawing(rows: Rows) -> tuple[Callable[..., "Figure"], str]:
    """Return the drawing function for rows, and its caption."""
    return (dot_plot, DOTS) if too_many_for_curves(rows) else (learning_curve, f"{SEVERAL} {DOTTED}")


def _figures_of(study: str, rows: Rows) -> dict[str, tuple[str, ...]]:
    """Return title and tasks of each figure: those of the study, or one figure of all tasks."""
    tasks = tuple(dict.fromkeys(str(row["task"]) for row in rows))
    wanted = STUDIES[study].figures if study in STUDIES else {}
    here = {title: tuple(task for task in tasks if task in shown) for title, shown in wanted.items()}
    return {title: shown for title, shown in here.items() if shown} or {"All tasks": tasks}
