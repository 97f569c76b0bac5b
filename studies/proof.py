"""Measure the controllers of the study `proof`, and write its page and figure.

    python studies/proof.py bases [--episodes 100] [--only WORLD ...]     measure the controllers before any learning
    python studies/proof.py page                                          write the table in docs/proof.md, and its figure

`bases` writes `studies/proof/bases.csv`, row by row, and keeps rows with as many episodes. Nothing else uses its initial
states. `page` reads only the CSV files in `studies/proof`.
"""

import argparse
import csv
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from residual_rl.controllers.resolve import resolve
from residual_rl.custom.inspection import look
from residual_rl.custom.opened import Opened
from residual_rl.evaluation import base_alone, roll_out
from residual_rl.residual import Composition
from residual_rl.seeds import Purpose, evaluation_seeds
from residual_rl.studies.worlds import WORLDS
from residual_rl.verdict import in_digits

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "studies" / "proof"
PAGE, FIGURE = ROOT / "docs" / "proof.md", ROOT / "docs" / "figures" / "proof.svg"
MARK = "<!-- made by studies/proof.py -->"
BASES: tuple[str, ...] = (
    *("world", "episodes", "measured_by", "steps", "success_rate", "low", "high"),
    *("mean_return", "return_low", "return_high"),
)
LANES = 4

Rows = list[dict[str, str]]


def measure(name: str, episodes: int) -> dict[str, Any]:
    """Evaluate a world's controller alone."""
    world = WORLDS[name]
    with closing(Opened(world.make, world.horizon)) as opened:
        base = resolve(world.controller(), opened.spec)
        about = look(opened, base, tell=lambda line: None)
        task = opened.task(about, LANES)
        act = base_alone(base.fitted(about.layout, about.character).controller, Composition(), task.spec.action_size)
        outcome = roll_out(task.lanes, act, evaluation_seeds(Purpose.TUNING, episodes))
    (low, high), (return_low, return_high) = outcome.interval, outcome.return_interval
    values = (low, high, outcome.mean_return, return_low, return_high)
    numbers = (about.findings.episode_steps, outcome.success_rate, *(round(value, 4) for value in values))
    return dict(zip(BASES, (name, episodes, about.findings.measured_by, *numbers), strict=True))


def bases(episodes: int, only: Sequence[str]) -> None:
    """Measure the missing worlds."""
    for name in only:
        rows: list[dict[str, Any]] = [dict(row) for row in read("bases.csv")]
        if any(row["world"] == name and int(row["episodes"]) >= episodes for row in rows):
            continue
        rows = [row for row in rows if row["world"] != name] + [measure(name, episodes)]
        with (FOLDER / "bases.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, BASES, lineterminator="\n")
            writer.writeheader()
            writer.writerows(sorted(rows, key=lambda row: list(WORLDS).index(row["world"])))
        print(*rows[-1].values(), flush=True)


def read(name: str) -> Rows:
    """Read a table of the folder; empty if it does not exist."""
    if not (FOLDER / name).exists():
        return []
    with (FOLDER / name).open(newline="") as file:
        return list(csv.DictReader(file))


def side(row: dict[str, str], who: str) -> tuple[float, float, float]:
    """Return the measure of base or policy, and its 95 % interval."""
    column = who if row["measured_by"] == "success" else f"{who}_return"
    return float(row[column]), float(row[f"{column}_low"]), float(row[f"{column}_high"])


def table(verdicts: Rows, others: Rows) -> str:
    """Return a line for each run, and a summary. `others` has a row for each run without a verdict."""
    lines = [
        "| environment | base | seed | steps | base alone | policy | verdict | second test |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in verdicts:
        again = _difference(row, "again") if row["again"] else ""
        verdict = f"{'promoted' if row['promoted'] == '1' else 'not promoted'}, {_difference(row, 'difference')}"
        sides = " | ".join(_interval(*side(row, who)) for who in ("base", "policy"))
        base = WORLDS[row["task"]].base
        lines.append(f"| {row['task']} | {base} | {row['seed']} | {int(row['steps']):,} | {sides} | {verdict} | {again} |")
    lines += [f"| {row['task']} | | {row['seed']} | {int(row['steps']):,} | | | {row['state']} | |" for row in others]
    return "\n".join([*lines, "", summary(verdicts, others)])


def summary(verdicts: Rows, others: Rows) -> str:
    """Count promoted runs, and promoted policies that are worse than their base in the second test."""
    promoted = [row for row in verdicts if row["promoted"] == "1"]
    worse = [row for row in promoted if row["again_high"] and float(row["again_high"]) < 0.0]
    worlds = {row["task"] for row in verdicts}
    some = {row["task"] for row in promoted}
    return (
        f"Promoted: {len(promoted)} of {len(verdicts)} runs, in {len(some)} of {len(worlds)} environments. "
        f"Promoted policy significantly worse than the base in the second test: {len(worse)} of {len(promoted)}. "
        f"Runs without a verdict: {len(others)}."
    )


def without_verdict(verdicts: Rows, results: Rows) -> Rows:
    """Return a row for each run that failed or is unfinished."""
    runs = ("task", "variant", "seed")
    judged = {tuple(row[name] for name in runs) for row in verdicts}
    return list({key: row for row in results if (key := tuple(row[name] for name in runs)) not in judged}.values())


def write_page() -> None:
    """Write the table into the page, after the mark, and draw the figure."""
    verdicts = read("verdicts.csv")
    if not verdicts:
        raise SystemExit(f"{FOLDER / 'verdicts.csv'} does not exist: see studies/README.md")
    found = table(verdicts, without_verdict(verdicts, read("results.csv")))
    image = "![Base and policy in each environment, with 95 % intervals](figures/proof.svg)"
    before, _, _ = PAGE.read_text().partition(MARK)
    PAGE.write_text(f"{before}{MARK}\n\n{image}\n\n{found}\n")
    draw(verdicts, FIGURE)


def draw(verdicts: Rows, out: Path) -> None:
    """Draw every run: success from 0 to 1, or the return, scaled from its least to its largest value in that world."""
    import matplotlib
    from matplotlib.figure import Figure

    worlds = list(dict.fromkeys(row["task"] for row in verdicts))
    figure = Figure(figsize=(8.0, 0.9 + 0.42 * len(worlds)), layout="constrained")
    axes = figure.subplots()
    for place, world in enumerate(worlds):
        rows = [row for row in verdicts if row["task"] == world]
        ends = [value for row in rows for who in ("base", "policy") for value in side(row, who)]
        least, most = (0.0, 1.0) if rows[0]["measured_by"] == "success" else (min(ends), max(ends))
        for number, row in enumerate(rows):
            for who, color in (("base", "tab:orange"), ("policy", "tab:blue")):
                value, low, high = ((each - least) / max(most - least, 1e-9) for each in side(row, who))
                height = place + 0.16 * (number - (len(rows) - 1) / 2)
                filled = color if who == "base" or row["promoted"] == "1" else "white"
                spread = [[value - low], [high - value]]
                axes.errorbar(value, height, xerr=spread, fmt="o", color=color, markerfacecolor=filled, markersize=4)
    axes.set_yticks(range(len(worlds)), worlds)
    axes.invert_yaxis()
    axes.set_xlabel("success; or return, from least to largest\norange: base; blue: policy, hollow: not promoted")
    with matplotlib.rc_context({"svg.hashsalt": "proof"}):  # the same rows give the same file
        figure.savefig(out, metadata={"Date": None})


def _interval(value: float, low: float, high: float) -> str:
    return f"{in_digits(value)} ({in_digits(low)} to {in_digits(high)})"


def _difference(row: dict[str, str], name: str) -> str:
    low, high = (in_digits(float(row[f"{name}_{end}"])) for end in ("low", "high"))
    return f"{float(row[name]):+.3g} ({low} to {high})"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("bases", "page"))
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--only", nargs="+", metavar="WORLD", choices=list(WORLDS), default=list(WORLDS))
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    if arguments.what == "bases":
        bases(arguments.episodes, arguments.only)
    else:
        write_page()


if __name__ == "__main__":
    main()
