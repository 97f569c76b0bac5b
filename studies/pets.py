"""Measure PETS on MBRLPusher: its return over the episodes, and tables of its actions of 1 to 1,000 states (paper, Fig. 6).

    python studies/pets.py learn runs/pets/seed-0 --seed 0     # if it is killed, resume with the same command
    python studies/pets.py trials runs/pets/seed-0             # the planner, 10 trials
    python studies/pets.py caches runs/pets/seed-0             # tables of its actions, 25 trials each
    python studies/pets.py throughput                          # model evaluations per second beside a bare matrix product
    python studies/pets.py figures                             # from the CSV files alone

All write to `studies/pets/`. Rows that exist are kept, so a stopped measurement can be resumed.
"""

import argparse
import csv
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import AutoresetMode

from residual_rl.controllers import PETS, Zero
from residual_rl.evaluation import base_alone, evaluation_envs, roll_out
from residual_rl.pets.caching import record_states, table_of
from residual_rl.pets.ensemble import new_ensemble
from residual_rl.pets.planner import PETSPlanner, plan
from residual_rl.pets.prepared import SIZES
from residual_rl.pets.rewards import REWARDS, Form, compiled
from residual_rl.residual import Composition
from residual_rl.seeds import Purpose, evaluation_seeds
from residual_rl.tasks import find_task

FOLDER = Path(__file__).parent / "pets"
TASK = find_task("mbrl-pusher")
TABLES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
TRIALS, TABLE_TRIALS, RECORDINGS = 10, 25, 500  # the last: seeds of the tables' episodes, beside those of the preparation
PAPER = -74.924
"""Mean return of PETS in 10 trials, as published."""


def learn(directory: Path, seed: int, sizes: str) -> None:
    """Learn a model within 15,000 steps; copy its rows."""
    learning = PETS(sizes=sizes).learning(TASK, seed, directory)
    learning.learn(lambda: lanes(1), TASK.spec.horizon, lambda steps: print(steps, learning.rows[-1]["return"], flush=True))
    append("learning.csv", [{"sizes": sizes, "seed": seed, **row} for row in learning.rows], ("sizes", "seed"))


def trials(directory: Path, number: int = TRIALS) -> None:
    """Evaluate the planner, and an arm that does not move."""
    planner = PETSPlanner.load(directory / "model")
    about = {"seed": planner.about.seed, "steps": planner.about.steps}
    still = measured(Zero(TASK.spec.action_size), number)
    append("trials.csv", [{"controller": "zero", **about, **still}], ("controller", "seed", "steps"))
    append("trials.csv", [{"controller": "pets", **about, **measured(planner, number)}], ("controller", "seed", "steps"))


def caches(directory: Path) -> None:
    """Evaluate tables of several sizes, all of the same episodes."""
    planner = PETSPlanner.load(directory / "model")
    with closing(lanes(1)) as envs:
        steps = record_states(envs, planner, max(TABLES), planner.about.seed, RECORDINGS)
    for size in TABLES:
        for distance in ("raw", "scaled"):
            table = table_of(type(steps)(*(array[:size] for array in steps)), distance)  # type: ignore[arg-type]
            row = {"seed": planner.about.seed, "states": size, "distance": distance, **measured(table, TABLE_TRIALS)}
            append("caches.csv", [row], ("seed", "states", "distance"))


def measured(controller: Any, number: int) -> dict[str, Any]:
    """Return mean return, its standard deviation, and the time of a proposal of one lane, from the verdict's initial states."""
    with closing(evaluation_envs(TASK, number, 1)) as envs:
        outcome = roll_out(
            envs, base_alone(controller, Composition(), TASK.spec.action_size), evaluation_seeds(Purpose.VERDICT, number)
        )
        returns = outcome.returns
        observation, _ = envs.reset(seed=evaluation_seeds(Purpose.VERDICT, number))
    one = {key: array[:1] for key, array in observation.items()}
    controller(one)
    seconds = []
    for _ in range(20 if isinstance(controller, PETSPlanner) else 2000):
        began = time.perf_counter()
        controller(one)
        seconds.append(time.perf_counter() - began)
    return {
        "trials": number,
        "mean_return": f"{returns.mean():.3f}",
        "deviation": f"{returns.std(ddof=1):.3f}",
        "milliseconds": f"{1000 * float(np.median(seconds)):.4g}",
    }


def throughput() -> None:
    """Measure model evaluations per second of the planner, and of the bare matrix products of the same shapes."""
    for sizes, (model_settings, settings) in SIZES.items():
        size, actions = TASK.spec.observation_size, TASK.spec.action_size
        model = new_ensemble(size, actions, model_settings, jax.random.key(0))
        reward = compiled(REWARDS[TASK.name], Form(), size, actions)
        shown = np.zeros((1, size), np.float32), np.zeros((1, settings.horizon, actions), np.float32), np.zeros(1, np.int32)
        rows = settings.candidates * settings.particles // model_settings.networks
        inputs = [jnp.ones((model_settings.networks, rows, weight.shape[1])) for weight in model.weights]
        products = jax.jit(lambda xs, ws: [jnp.einsum("nmi,nio->nmo", x, w) for x, w in zip(xs, ws, strict=True)])
        planning = fastest(lambda: plan(model, *shown, 0, settings, reward), 10)  # noqa: B023
        bare = fastest(lambda: products(inputs, model.weights), 200)  # noqa: B023
        each = settings.candidates * settings.particles
        rates = each * settings.horizon * settings.rounds / planning, each / bare
        row = {
            "sizes": sizes,
            "planning": f"{rates[0]:.4g}",
            "bare_product": f"{rates[1]:.4g}",
            "share": f"{rates[0] / rates[1]:.3f}",
        }
        append("throughput.csv", [row | {"plan_milliseconds": f"{1000 * planning:.4g}"}], ("sizes",))


def fastest(call: Any, times: int) -> float:
    """Return the shortest time of some calls, in s."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def figures() -> None:
    """Draw the return over the episodes, and the return over the size of the table."""
    from matplotlib.figure import Figure

    from residual_rl.reports.figures import BASE_COLOR, COLORS, dress

    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "learning.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    axis = figure.subplots()
    seeds = sorted({row["seed"] for row in rows})
    for seed, color in zip(seeds, COLORS * len(seeds), strict=False):
        own = [row for row in rows if row["seed"] == seed]
        steps, returns = [float(row["step"]) for row in own], [float(row["return"]) for row in own]
        axis.plot(steps, returns, color=color, lw=0.6, alpha=0.4)
        axis.plot(
            steps,
            [np.mean(returns[max(0, end - 9) : end + 1]) for end in range(len(returns))],
            color=color,
            label=f"seed {seed}",
        )
    axis.axhline(PAPER, color=BASE_COLOR, lw=1.0, ls=":", label="published, after 15,000 steps")
    axis.set_xlabel("environment steps", fontsize=8.5)
    axis.legend(fontsize=8, frameon=False)
    dress(axis, "return of an episode, and the mean of the last 10")
    figure.savefig(FOLDER / "learning.svg")
    tables = FOLDER / "caches.csv"
    if not tables.exists():
        return
    with tables.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    axis = figure.subplots()
    for distance, color in (("raw", COLORS[0]), ("scaled", COLORS[1])):
        own = [row for row in rows if row["distance"] == distance]
        error = [float(row["deviation"]) / float(row["trials"]) ** 0.5 for row in own]
        axis.errorbar(
            [float(row["states"]) for row in own],
            [float(row["mean_return"]) for row in own],
            error,
            color=color,
            label=distance,
        )
    for row in read_trials():
        axis.axhline(
            float(row["mean_return"]),
            color="#555" if row["controller"] == "zero" else BASE_COLOR,
            lw=1.0,
            ls=":",
            label=row["controller"],
        )
    axis.set_xscale("log")
    axis.set_xlabel("states in the table", fontsize=8.5)
    axis.legend(fontsize=8, frameon=False)
    dress(axis, "mean return of 25 trials, with its standard error")
    figure.savefig(FOLDER / "caches.svg")


def read_trials() -> list[dict[str, str]]:
    """Return the rows of `trials.csv`."""
    path = FOLDER / "trials.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append(name: str, rows: list[dict[str, Any]], keys: tuple[str, ...]) -> None:
    """Write rows to a CSV file, in place of those with the same keys."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / name
    kept: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="") as file:
            kept = list(csv.DictReader(file))
    new = {tuple(str(row[key]) for key in keys) for row in rows}
    rows = [row for row in kept if tuple(row[key] for key in keys) not in new] + rows
    columns = list(dict.fromkeys(column for row in reversed(rows) for column in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="nan", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(path, rows[-1])


def lanes(number: int) -> Any:
    """Return lanes on one physics thread."""
    return TASK.make_envs(number, num_threads=1, autoreset_mode=AutoresetMode.DISABLED)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("learn", "trials", "caches", "throughput", "figures"))
    parser.add_argument("directory", type=Path, nargs="?", default=Path("runs/pets/seed-0"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sizes", choices=SIZES, default="two-cores")
    given = parser.parse_args()
    if given.what == "learn":
        learn(given.directory, given.seed, given.sizes)
    elif given.what in ("throughput", "figures"):
        {"throughput": throughput, "figures": figures}[given.what]()
    else:
        {"trials": trials, "caches": caches}[given.what](given.directory)


if __name__ == "__main__":
    main()
