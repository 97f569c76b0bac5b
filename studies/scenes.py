"""Measures what makes ComplexHook's scenes hard for ReactiveHook: bumps by their height, strays, and how contacts are found.

    python studies/scenes.py [--episodes 500]

Writes `studies/controllers/scenes.csv`, the table in `docs/physics.md`. The initial states are those that select checkpoints;
verdicts and `studies/rates.py` use others.
"""

import argparse
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import mujoco
from rich.progress import Progress

from residual_rl.controllers.hook import ReactiveHook
from residual_rl.evaluation import base_alone, evaluation_envs, roll_out
from residual_rl.residual import Composition
from residual_rl.seeds import Purpose, evaluation_seeds
from residual_rl.tasks import TASKS, complex_hook, variants
from residual_rl.tasks.hook import hook_spec
from residual_rl.tasks.variants import Variant

FILE = Path(__file__).parent / "controllers" / "scenes.csv"
BUMPS, OBJECTS = variants.ONLY_BUMPS, variants.ONLY_OBJECTS
CASES = (  # a variant, and what the hook is made of
    (replace(OBJECTS, stray_origin=False), "boxes"),
    (replace(BUMPS, highest_bump=0.002), "boxes"),
    (replace(BUMPS, highest_bump=0.005), "boxes"),
    (replace(BUMPS, highest_bump=0.0075), "boxes"),
    (replace(BUMPS, highest_bump=0.01), "boxes"),
    (replace(BUMPS, highest_bump=0.0075), "meshes"),
    (replace(BUMPS, highest_bump=0.01), "meshes"),
)
TASK = TASKS["complex-hook"]


@contextmanager
def hook_made_of(kind: str) -> Iterator[None]:
    """Worlds made meanwhile have a hook of boxes, as it is, or of meshes of the same form, which no routine takes for boxes."""

    def with_meshes() -> mujoco.MjSpec:
        spec = hook_spec()
        for geom in spec.body("hook").geoms:
            x, y, z = geom.size
            corners = [(i * x, j * y, k * z) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
            spec.add_mesh(name=geom.name, uservert=[entry for corner in corners for entry in corner])
            geom.type, geom.meshname = mujoco.mjtGeom.mjGEOM_MESH, geom.name
        return spec

    with patch.object(complex_hook, "hook_spec", with_meshes if kind == "meshes" else hook_spec):
        yield


def measure(variant: Variant, kind: str, episodes: int) -> dict[str, float | str]:
    """One row."""
    task = replace(TASK, make_world=lambda num_threads: complex_hook.ComplexHookWorld(variant, num_threads))
    with hook_made_of(kind):
        envs = evaluation_envs(task, episodes, num_threads=None)
    act = base_alone(ReactiveHook(), Composition(), task.spec.action_size)
    outcome = roll_out(envs, act, evaluation_seeds(Purpose.SELECTION, episodes))
    envs.close()
    low, high = outcome.interval
    return {
        "object": ("astray" if variant.stray_origin else "at its start") if variant.shapes else "cube",
        "highest_bump": variant.highest_bump if variant.bumps else 0.0,
        "hook": kind,
        "episodes": episodes,
        "success_rate": outcome.success_rate,
        "low": round(low, 4),
        "high": round(high, 4),
    }


def main() -> None:
    """Measures all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=500)
    episodes = parser.parse_args().episodes
    with Progress() as progress:
        rows = [measure(*case, episodes) for case in progress.track(CASES)]
    with FILE.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
