"""Measure every controller on its tasks, before any learning.

    python studies/rates.py [--episodes 1000] [--only TASK ...]

Writes `studies/controllers/rates.csv`, row by row, and from it alone `studies/controllers/README.md`. Each row belongs to a
version of MuJoCo, and the installed one is measured. Rows that exist with as many episodes are kept: a stopped measurement can
be resumed, and a row deleted from the file is measured again.
"""

import argparse
import csv
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import Progress

import residual_rl

FOLDER = Path(__file__).parent / "controllers"
COLUMNS: tuple[str, ...] = (
    *("task", "controller", "mujoco", "paper", "episodes", "success_rate", "low", "high", "mean_return", "versions"),
)
HERE = version("mujoco")


class Pair(NamedTuple):
    """A controller on a task."""

    task: str
    controller: str
    paper: str = ""
    """Success rate in Silver et al. 2018, text or figures, or by its words (bumps and objects cost about 0.2 each); empty where
    it gives none."""


PAIRS = (
    Pair("push", "reactive-push", "near 1"),
    Pair("slippery-push", "reactive-push", "0.45"),
    Pair("slippery-push-published-friction", "reactive-push", "0.45"),
    Pair("push", "discrete-mpc", "0.5"),
    Pair("pick-and-place", "reactive-pick-and-place"),
    Pair("pick-and-place", "oscillating-pick-and-place", "0.5"),
    Pair("pick-and-place", "oscillating-pick-and-place-as-run"),
    Pair("hook", "reactive-hook", "near 1"),
    Pair("noisy-hook", "reactive-hook", "0.15"),
    Pair("noisy-hook-as-described", "reactive-hook"),
    Pair("complex-hook", "reactive-hook", "0.55"),
    Pair("complex-hook-only-bumps", "reactive-hook", "0.8"),
    Pair("complex-hook-only-objects", "reactive-hook", "0.8"),
    Pair("complex-hook-published-bumps", "reactive-hook", "0.55"),
    Pair("complex-hook-centered-origins", "reactive-hook"),
    Pair("complex-hook-as-described", "reactive-hook"),
    Pair("complex-hook-test", "reactive-hook"),
    Pair("mbrl-pusher", "zero"),
    Pair("mbrl-pusher-as-described", "zero"),
)

PREFACE = """# Controllers before learning

Success at the last step of {episodes} episodes, with 95 % Wilson intervals, on the initial states that verdicts use. The
paper's numbers are from its text and figures. Tasks and controllers are set for MuJoCo {newest}. The last columns have the
rates on other versions, with the number of episodes. Rows named `published` or `as-run` keep the published constants
(`docs/physics.md`). Made by `python studies/rates.py` from `rates.csv`.

| task | controller | paper | here | 95 % interval | mean return |{others}
|---|---|---|---|---|---|{rule}
"""


def read() -> list[dict[str, str]]:
    """Read the rows that exist."""
    if not (FOLDER / "rates.csv").exists():
        return []
    with (FOLDER / "rates.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write(rows: list[dict[str, Any]]) -> None:
    """Write the CSV in the order of `PAIRS`, the newest MuJoCo first, and the table made from it."""
    order = [(pair.task, pair.controller) for pair in PAIRS]
    rows = sorted(rows, key=lambda row: [-number for number in numbers(row["mujoco"])])
    rows.sort(key=lambda row: order.index((row["task"], row["controller"])))
    with (FOLDER / "rates.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    newest, *others = sorted({row["mujoco"] for row in rows}, key=numbers, reverse=True)
    rates = {(row["task"], row["controller"], row["mujoco"]): row for row in rows}
    lines = [
        f"| {row['task']} | {row['controller']} | {row['paper'] or '-'} | {float(row['success_rate']):.3f}"
        f" | {float(row['low']):.3f} to {float(row['high']):.3f} | {float(row['mean_return']):.1f} |"
        + "".join(f" {_short(rates.get((row['task'], row['controller'], other)))} |" for other in others)
        + "\n"
        for row in rows
        if row["mujoco"] == newest
    ]
    preface = PREFACE.format(
        episodes=next(row["episodes"] for row in rows if row["mujoco"] == newest),
        newest=newest,
        others="".join(f" {other} |" for other in others),
        rule="---|" * len(others),
    )
    (FOLDER / "README.md").write_text(preface + "".join(lines))


def numbers(version: str) -> list[int]:
    """Return the numbers of a version, to be compared."""
    return [int(number) for number in version.split(".")]


def _short(row: dict[str, Any] | None) -> str:
    return "-" if row is None else f"{float(row['success_rate']):.3f} ({row['episodes']})"


def measure(pair: Pair, episodes: int, threads: int | None) -> dict[str, Any]:
    """Measure one row."""
    base = residual_rl.evaluate(pair.task, pair.controller, episodes=episodes, num_threads=threads).base
    return {
        **pair._asdict(),
        "mujoco": HERE,
        "episodes": episodes,
        "success_rate": base.success_rate,
        "low": round(base.interval[0], 4),
        "high": round(base.interval[1], 4),
        "mean_return": round(base.mean_return, 3),
        "versions": " ".join(f"{name}={version(name)}" for name in ("residual-rl", "mujoco", "gymnasium-robotics", "numpy")),
    }


def main() -> None:
    """Measure the missing rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--only", nargs="+", metavar="TASK", choices=sorted({pair.task for pair in PAIRS}))
    parser.add_argument("--threads", type=int, help="physics threads; one for each core if not given")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    wanted = {(pair.task, pair.controller) for pair in PAIRS}
    rows: list[dict[str, Any]] = [row for row in read() if (row["task"], row["controller"]) in wanted]
    with Progress() as progress:
        for pair in progress.track([pair for pair in PAIRS if not arguments.only or pair.task in arguments.only]):
            same = [
                row for row in rows if (row["task"], row["controller"], row["mujoco"]) == (pair.task, pair.controller, HERE)
            ]
            if same and int(same[0]["episodes"]) >= arguments.episodes:
                continue
            rows = [row for row in rows if row not in same] + [measure(pair, arguments.episodes, arguments.threads)]
            write(rows)


if __name__ == "__main__":
    main()
