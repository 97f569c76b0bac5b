"""Gathers finished runs into the small CSVs that tables and figures are made of.

    python studies/collect.py slippery_push runs/slippery-push/rpl/seed-* runs/slippery-push/rpl-silver2018/seed-*

Unfinished runs are taken too, and marked: they have evaluations, and no verdict.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from residual_rl.run import EVALUATIONS, read_config, read_rows, read_verdict

DESCRIBED = ("study", "task", "measured_by", "method", "preset", "controller", "seed")
RESULTS: tuple[str, ...] = (*DESCRIBED, *EVALUATIONS, "finished", "versions")


def described(study: str, path: Path) -> dict[str, Any]:
    """What tells a run from the others."""
    config = read_config(path)
    return {"study": study} | {name: getattr(config, name) for name in DESCRIBED[1:]}


def results(study: str, path: Path) -> list[dict[str, Any]]:
    """A row for each evaluation of a run."""
    versions = json.loads((path / "config.json").read_text())["made_by"]["versions"]
    run = described(study, path) | {
        "finished": int((path / "verdict.json").exists()),
        "versions": " ".join(f"{name}={version}" for name, version in versions.items()),
    }
    whole = ("step", "fixed", "broken", "episodes")
    return [
        run | {name: int(value) if name in whole else value for name, value in row.items()}
        for row in read_rows(path / "evaluations.csv")
    ]


def verdict(study: str, path: Path) -> dict[str, Any]:
    """The verdict of a run as one row."""
    given = read_verdict(path)
    base, policy, (low, high) = given.base.success_rate, given.policy.success_rate, given.policy.interval
    if given.measured_by == "return" and given.policy.return_interval:
        base, policy, (low, high) = given.base.mean_return, given.policy.mean_return, given.policy.return_interval
    return described(study, path) | {
        "steps": read_config(path).steps,
        "episodes": given.episodes,
        "base": base,
        "policy": policy,
        "policy_low": round(low, 4),
        "policy_high": round(high, 4),
        "fixed": given.fixed,
        "broken": given.broken,
        "p_value": given.p_value,
        "promoted": int(given.promoted),
    }


def main() -> None:
    """Writes `studies/<study>/results.csv` and `verdicts.csv`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("runs", nargs="+", type=Path)
    arguments = parser.parse_args()
    out = Path(__file__).parent / arguments.study
    out.mkdir(exist_ok=True)
    rows = [row for run in arguments.runs for row in results(arguments.study, run)]
    with (out / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, RESULTS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    verdicts = [verdict(arguments.study, run) for run in arguments.runs if (run / "verdict.json").exists()]
    if verdicts:
        with (out / "verdicts.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(verdicts[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(verdicts)
    print(f"{len(rows)} evaluations and {len(verdicts)} verdicts of {len(arguments.runs)} runs in {out}")


if __name__ == "__main__":
    main()
