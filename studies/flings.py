"""Count the episodes in which the hook is fast, and those in which a contact that is not there flings it.

The hand moves at 1.25 m/s at most. A hook can be faster: one that the hand squeezes against the edge of the table shoots
away, and one that the arm lifted falls. Such contacts are less deep than the hook is thick. The contacts of MuJoCo's fault
(issue 3476) were 59 to 87 cm deep. So a fling is a fast hook with a contact that is deeper than the hook is thick.

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

import mujoco
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
FAST = 3.0  # m/s of the hook's middle
SUSPECT = 1.5  # m/s from which on contacts are looked at
DEEP = 0.03  # m, the thickness of shaft and head


def measure(name: str, episodes: int, threads: int | None) -> dict[str, Any]:
    """One row."""
    seeds, act = evaluation_seeds(Purpose.VERDICT, episodes), ReactiveHook()
    fastest, deepest, solved = np.zeros(episodes), np.zeros(episodes), np.zeros(episodes, dtype=bool)
    velocity = state_columns(hook_model(), "hook:joint")[1]
    with closing(TASKS[name].make_envs(LANES, num_threads=threads, autoreset_mode=AutoresetMode.DISABLED)) as envs:
        if name.startswith("complex"):
            velocity = state_columns(envs.world.arm.physics.model, "hook:joint")[1]  # type: ignore[attr-defined]
        for start in track(range(0, episodes, LANES), name):
            lanes = slice(start, start + LANES)
            observation, _ = envs.reset(seed=seeds[lanes])
            for _ in range(envs.horizon):
                before = envs.state.physics.copy()
                observation, *_, info = envs.step(act(observation))
                speed = np.linalg.norm(envs.state.physics[:, velocity][:, :3], axis=1)
                fastest[lanes] = np.fmax(fastest[lanes], np.where(np.isfinite(speed), speed, np.inf))
                for lane in np.flatnonzero(speed > SUSPECT):
                    model = _model(envs, lane)
                    depth = max(_depth(model, state[lane]) for state in (before, envs.state.physics))
                    deepest[start + lane] = max(deepest[start + lane], depth)
            solved[lanes] = info["is_success"]
    fast = fastest > FAST
    flung = fast & (deepest > DEEP)
    return {
        "task": name,
        "mujoco": version("mujoco"),
        "episodes": episodes,
        "fast": int(fast.sum()),
        "flung": int(flung.sum()),
        "fast and solved": int((fast & solved).sum()),
        "fastest": round(float(fastest.max()), 2),
        "deepest_contact_mm": round(1000.0 * float(deepest.max()), 1),
    }


def _model(envs: Any, lane: int) -> mujoco.MjModel:
    """Return the model of a lane: its scene's, if each lane has another scene."""
    world = envs.world
    return world._models.of(envs.state.scene[[lane]])[0] if hasattr(world, "_models") else hook_model()


def _depth(model: mujoco.MjModel, state: np.ndarray) -> float:
    """Return the depth of the hook's deepest contact in a state, in m; 0 if it touches nothing."""
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    mujoco.mj_forward(model, data)
    of_hook = model.body("hook").id
    return max([0.0, *(-contact.dist for contact in data.contact if of_hook in model.geom_bodyid[contact.geom])])


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
