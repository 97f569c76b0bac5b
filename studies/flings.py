"""Counts the episodes in which the hook is flung: moved faster than the hand that holds it ever could.

    python studies/flings.py [--episodes 500]

Adds the rows of the installed MuJoCo to `studies/controllers/flings.csv`, the numbers in `docs/physics.md`. ReactiveHook acts,
on the initial states that verdicts use.
"""

import argparse
import csv
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from rich.progress import track

from residual_rl.controllers import ReactiveHook
from residual_rl.seeds import Purpose, evaluation_seeds
from residual_rl.tasks import TASKS
from residual_rl.tasks.hook import hook_model
from residual_rl.tasks.physics import state_columns

FILE = Path(__file__).parent / "controllers" / "flings.csv"
WORLDS = ("hook", "noisy-hook", "complex-hook", "complex-hook-as-described")
LANES = 50
TOO_FAST = 3.0  # m/s of the hook's middle; the hand moves at 1.25 m/s at most, and what falls off the table at 2.8 m/s


def measure(name: str, episodes: int, threads: int | None) -> dict[str, Any]:
    """One row."""
    seeds, act = evaluation_seeds(Purpose.VERDICT, episodes), ReactiveHook()
    fastest, solved = np.zeros(episodes), np.zeros(episodes, dtype=bool)
    velocity = state_columns(hook_model(), "hook:joint")[1]
    with closing(TASKS[name].make_envs(LANES, num_threads=threads, autoreset_mode=AutoresetMode.DISABLED)) as envs:
        if name.startswith("complex"):
            velocity = state_columns(envs.world.arm.physics.model, "hook:joint")[1]  # type: ignore[attr-defined]
        for start in track(range(0, episodes, LANES), name):
            lanes = slice(start, start + LANES)
            observation, _ = envs.reset(seed=seeds[lanes])
            for _ in range(envs.horizon):
                observation, *_, info = envs.step(act(observation))
                speed = np.linalg.norm(envs.state.physics[:, velocity][:, :3], axis=1)
                fastest[lanes] = np.fmax(fastest[lanes], np.where(np.isfinite(speed), speed, np.inf))
            solved[lanes] = info["is_success"]
    flung = fastest > TOO_FAST
    return {
        "task": name,
        "mujoco": version("mujoco"),
        "episodes": episodes,
        "flung": int(flung.sum()),
        "of them solved": int((flung & solved).sum()),
        "fastest": round(float(fastest.max()), 2),
    }


def main() -> None:
    """Measures all worlds and replaces the rows of this MuJoCo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=500, help=f"a multiple of {LANES}")
    parser.add_argument("--threads", type=int, help="physics threads; one for each core if not given")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if FILE.exists():
        with FILE.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["mujoco"] != version("mujoco")]
    rows = [measure(name, arguments.episodes, arguments.threads) for name in WORLDS] + rows
    with FILE.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
