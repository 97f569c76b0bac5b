"""The examples, which the documentation shows piece by piece, do what it says of them; with budgets of seconds."""

import csv
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from residual_rl.controllers.artefacts import ARTEFACTS
from residual_rl.learning.algorithms import ALGORITHMS
from residual_rl.learning.burn_in import FixedBurnIn
from residual_rl.learning.gated_ddpg import GatedDDPG
from residual_rl.pets.ensemble import ModelSettings
from residual_rl.pets.search import PlannerSettings
from residual_rl.runs.reading import read_verdict
from residual_rl.studies.worlds import tutorial
from residual_rl.tasks import TASKS

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"

BUDGET: dict[str, Any] = {
    "algorithm": GatedDDPG(hidden=(32, 32), num_critics=2, burn_in=FixedBurnIn(cycles=1, updates=4)),
    "episodes_per_cycle": 4,
    "updates_per_cycle": 4,
    "batch_size": 32,
    "steps": 600,
    "evaluation_interval": 600,
    "evaluation_episodes": 4,
    "verdict_episodes": 8,
}


CONTROLLERS = {
    "scripted_push": "push",
    "pid": "PID",
    "mpc": "mpc",
    "stable_baselines3_policy": "PPO",
    "own_task": "spring",
    "own_controller": "Demonstrated",
    "own_algorithm": "PID",
    "learned_model": "pets",
    "own_minari_data": "clone",
    "own_lerobot_data": "image",
}
"""The examples, and what each improves."""
OTHERWISE: dict[str, dict[str, Any]] = {
    "stable_baselines3_policy": {"pretraining": 1},
    "own_controller": {"steps": 1100},  # of which the preparation takes 500
    "own_minari_data": {"epochs": 20, "evaluation_episodes": 8},
    "own_lerobot_data": {"epochs": 2, "evaluation_episodes": 8, "width": 4},
    "own_algorithm": {"algorithm.burn_in.cycles": 1, "algorithm.burn_in.updates": 4},
    "learned_model": {
        "which": "cart-pole",
        "learning_steps": 200,
        "steps": 700,
        "sizes": {
            "model": ModelSettings(networks=1, hidden=(8,), least_updates=5),
            "planner": PlannerSettings(horizon=2, candidates=2, elites=1, rounds=1, particles=1),
        },
    },
}
"""Arguments in which an example differs from `BUDGET`."""


@pytest.fixture(autouse=True)
def registries_as_before() -> Iterator[None]:
    """Take back what an example adds to the library."""
    registries: list[dict[str, Any]] = [TASKS, ALGORITHMS, ARTEFACTS]
    before = [dict(registry) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_an_example_improves_its_controller(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))  # as where it is run as a script
    if name == "stable_baselines3_policy":
        pytest.importorskip("stable_baselines3")
    for module in {"own_minari_data": ["minari"], "own_lerobot_data": ["av", "pyarrow"]}.get(name, []):
        pytest.importorskip(module)
    budget = BUDGET | OTHERWISE.get(name, {})
    if name == "own_algorithm":
        del budget["algorithm"]
    importlib.import_module(name).main(str(tmp_path / "run"), **budget)
    assert read_verdict(tmp_path / "run").controller.partition("-")[0] == CONTROLLERS[name]


def test_the_study_has_the_world_and_the_controller_of_the_tutorial(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package has its own, since `examples` is not part of it."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    pid = importlib.import_module("pid").PID
    steps = []
    for env, controller in ((gymnasium.make("BallOnBeam-v0"), pid()), (tutorial.ball_on_beam(), tutorial.PID())):
        observation, _ = env.reset(seed=3)
        assert env.spec is not None
        steps.append([env.spec.id])
        ended = False
        while not ended:
            observation, reward, terminated, truncated, info = env.step(controller(observation))
            steps[-1] += [*observation, reward, info["is_success"]]
            ended = terminated or truncated
    assert len(steps[0]) == 1 + 100 * 6
    assert steps[0] == steps[1]


def test_the_sweep_has_a_verdict_for_each_of_the_users_own_controllers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))  # the processes of the trials get it too
    fields = {name: value for name, value in BUDGET.items() if name not in ("algorithm", "steps")}
    small = {"algorithm.hidden": [32, 32], "algorithm.num_critics": 2}
    burn_in = {"algorithm.burn_in.cycles": 1, "algorithm.burn_in.updates": 4}
    importlib.import_module("own_sweep").main(str(tmp_path), seeds=1, steps=800, **fields, **small, **burn_in)
    with (tmp_path / "verdicts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["task"], row["variant"]) for row in rows] == [("beam", "soft"), ("beam", "stiff")]
    assert rows[0]["base_return"] != rows[1]["base_return"]  # the bases differ


def test_every_example_is_run_and_shown() -> None:
    # `test_encoder.py` and the test above run two of them; the other two are environments.
    elsewhere = {"ball_on_beam", "cart_pole", "image_features", "own_sweep"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*CONTROLLERS, *elsewhere}
    pages = "".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))
    for path in EXAMPLES.glob("*.py"):
        assert f'--8<-- "examples/{path.name}' in pages


def test_every_command_is_in_the_reference() -> None:
    from residual_rl.cli.main import app

    page = (ROOT / "docs" / "reference" / "command-line.md").read_text()
    named = set(re.findall(r"^\| `([a-z]+)[` ]", page, re.MULTILINE))
    assert {command.name or command.callback.__name__ for command in app.registered_commands if command.callback} <= named
