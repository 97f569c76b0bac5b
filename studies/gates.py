"""Measure the effect of the gate at run time: evaluate finished runs of SlipperyPush with more or less caution.

    python studies/gates.py runs/studies/default/slippery-push/default/seed-*/run [--episodes 300]

Each policy is evaluated on its training task and on Push, whose block does not slip: training never used that friction, and the
base is well tuned for it. Writes `studies/gates/gates.csv`, row by row, and from it alone `studies/gates/README.md`. Rows that
exist with as many episodes are kept, so a stopped measurement can be resumed.
"""

import argparse
import csv
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from residual_rl.controllers import make_controller
from residual_rl.evaluation import base_alone, evaluation_envs, roll_out
from residual_rl.learning.actors import Actor
from residual_rl.policy import base_plus_residual, restore_residual
from residual_rl.residual import Composition
from residual_rl.runs.reading import read_policy
from residual_rl.seeds import Purpose, evaluation_seeds
from residual_rl.statistics import wilson_interval
from residual_rl.tasks import find_task

FOLDER = Path(__file__).parent / "gates"
COLUMNS = ("task", "gate", "seed", "episodes", "successes", "deviation")
TASKS = ("slippery-push", "push")
GATES = {"base": None, "caution 3": 3.0, "none": None, "caution 0": 0.0, "caution 6": 6.0}
"""The base alone, and cautions."""

PREFACE = """# Run-time gates

Finished runs of SlipperyPush ({seeds} seeds of the default preset as it was when 3 was the only caution), evaluated with more
or less caution: {episodes} episodes each, from the initial states that verdicts use, with 95 % Wilson intervals over all seeds.
On Push the block does not slip; no training used its friction. The mean residual is the mean absolute difference of action and
base action, over steps and entries. Made by `python studies/gates.py RUN ...` from `gates.csv`.

| task | gate | success | 95 % interval | of each seed | mean residual |
|---|---|---|---|---|---|
"""


def measure(run: Path, task_name: str, gate: str, episodes: int) -> dict[str, str]:
    arrays, config, _ = read_policy(run)
    task = find_task(task_name)
    controller = make_controller(config.controller, task.spec)
    if gate == "base":
        act = base_alone(controller, Composition(), task.spec.action_size)
    else:
        algorithm = replace(config.algorithm, actors=(Actor(cautions=(GATES[gate],)),))
        residual = restore_residual(algorithm, task.spec, arrays, str(run))
        act = base_plus_residual(controller, residual, task.spec.action_size)
    with closing(evaluation_envs(task, episodes, None)) as envs:
        outcome = roll_out(envs, act, evaluation_seeds(Purpose.VERDICT, episodes))
    seed = "" if gate == "base" else config.seed
    row = (task_name, gate, seed, episodes, outcome.success.sum(), f"{outcome.deviation.mean():.4f}")
    return dict(zip(COLUMNS, map(str, row), strict=True))


def kept(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def table(rows: list[dict[str, str]]) -> str:
    lines = []
    for task in TASKS:
        for gate in GATES:
            found = [row for row in rows if (row["task"], row["gate"]) == (task, gate)]
            if not found:
                continue
            successes = sum(int(row["successes"]) for row in found)
            trials = sum(int(row["episodes"]) for row in found)
            low, high = wilson_interval(successes, trials)
            each = ", ".join(f"{int(row['successes']) / int(row['episodes']):.2f}" for row in found)
            moved = sum(float(row["deviation"]) for row in found) / len(found)
            lines.append(f"| {task} | {gate} | {successes / trials:.3f} | {low:.3f} - {high:.3f} | {each} | {moved:.3f} |")
    seeds = {row["seed"] for row in rows if row["seed"]}
    return PREFACE.format(seeds=len(seeds), episodes=rows[0]["episodes"]) + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--episodes", type=int, default=300)
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / "gates.csv"
    for run in arguments.runs:
        for task in TASKS:
            for gate in GATES:
                rows = kept(path)
                seed = "" if gate == "base" else str(read_policy(run)[1].seed)  # the base is the same for all
                done = {(row["task"], row["gate"], row["seed"], row["episodes"]) for row in rows}
                if (task, gate, seed, str(arguments.episodes)) in done:
                    continue
                rows.append(measure(run, task, gate, arguments.episodes))
                with path.open("w", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(rows)
                (FOLDER / "README.md").write_text(table(rows))
                print(rows[-1], flush=True)


if __name__ == "__main__":
    main()
