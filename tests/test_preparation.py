"""A base may be made inside of the run: killed and resumed like training, its steps counted."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import BUDGET, Aim

import residual_rl
from residual_rl.controllers import TableController
from residual_rl.controllers.artefacts import Preparation, Report
from residual_rl.errors import ControllerError, Interrupted, ResidualRLError, RunError
from residual_rl.residual import Composition
from residual_rl.rollout import collect
from residual_rl.runs.reading import read_rows
from residual_rl.seeds import Purpose
from residual_rl.tasks.task import AnyTask
from residual_rl.types import Observation, map_observation

FEW: dict[str, Any] = BUDGET | {"steps": 1200, "evaluation_episodes": 4, "verdict_episodes": 4, "evaluation_interval": 400}


def few(**changes: Any) -> dict[str, Any]:
    return FEW | changes


class Gain:
    """An artefact of the user's: a line through points."""

    kind = "gain"
    reads_goal = False

    def __init__(self, slope: float, offset: float):
        self.slope, self.offset = slope, offset

    @property
    def digest(self) -> str:
        return np.array([self.slope, self.offset]).tobytes().hex()

    def __call__(self, observation: Observation) -> np.ndarray:
        return self.slope * observation["observation"] + self.offset

    def save(self, path: Path) -> None:
        (path / "gain.json").write_text(json.dumps([self.slope, self.offset]))

    @classmethod
    def load(cls, path: Path) -> "Gain":
        return cls(*json.loads((path / "gain.json").read_text()))


class Recorded:
    """Episodes of a scripted controller, one after the other, of which `make` makes the base."""

    def __init__(self, episodes: int, make: Callable[[np.ndarray, np.ndarray], Any], load: Any, stop: int | None = None):
        self.settings = {"episodes": episodes}
        self.episodes, self.make, self.load, self.stop = episodes, make, load, stop
        self.rolled_out = 0

    def prepare(self, task: AnyTask, budget: int, seed: int, directory: Path, report: Report) -> Preparation:
        envs = task.open_lanes()

        def law(observation: Observation) -> np.ndarray:
            return (2.0 * observation["observation"] + 1.0 - 2.0) / 4.0  # the right one, in units where the bounds are -1 and 1

        for number in range(self.episodes):
            file = directory / f"episode-{number}.npz"
            if not file.exists():
                self.rolled_out += 1
                (episode,), _ = collect(
                    envs, law, Composition(), lambda _, action, step: np.zeros_like(action), [Purpose.PREPARATION + number]
                )
                steps = episode.transitions
                np.savez(file, states=steps.observation["observation"], actions=steps.action)
                if self.rolled_out == self.stop:
                    os.kill(os.getpid(), signal.SIGINT)
            report(len(self._read(directory, number + 1)[0]))
        states, actions = self._read(directory, self.episodes)
        return Preparation(self.make(states, actions), len(states))

    @staticmethod
    def _read(directory: Path, episodes: int) -> tuple[np.ndarray, np.ndarray]:
        files = [np.load(directory / f"episode-{number}.npz") for number in range(episodes)]
        return np.concatenate([one["states"] for one in files]), np.concatenate([one["actions"] for one in files])


def fitted(states: np.ndarray, actions: np.ndarray) -> Gain:
    slope, offset = np.polyfit(states[:, 0], actions[:, 0], 1)
    return Gain(float(slope), float(offset))


def as_table(episodes: int = 20, stop: int | None = None) -> Recorded:
    return Recorded(episodes, TableController, TableController.load, stop)


def as_gain(episodes: int = 20, stop: int | None = None) -> Recorded:
    return Recorded(episodes, fitted, Gain.load, stop)


def numbers(path: Path) -> list[dict[str, float]]:
    rows = read_rows(path / "metrics.csv") + read_rows(path / "evaluations.csv")
    return [{name: value for name, value in row.items() if name != "wall_seconds"} for row in rows]


@pytest.fixture(scope="module", params=[as_table, as_gain], ids=["table", "gain"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Callable[..., Recorded], Path]:
    path = tmp_path_factory.mktemp("prepared") / "run"
    residual_rl.improve(Aim, request.param(), out=path, **FEW)
    return request.param, path


def test_its_steps_are_the_first_of_the_budget(made: Any) -> None:
    _, path = made
    steps = json.loads((path / "base" / "preparation.json").read_text())["steps"]
    assert 60 <= steps <= 160
    evaluations, metrics = read_rows(path / "evaluations.csv"), read_rows(path / "metrics.csv")
    assert evaluations[0]["step"] == steps
    assert steps < metrics[0]["step"] <= steps + 16 * 8
    assert 1200 <= metrics[-1]["step"] < 1200 + 16 * 8
    assert evaluations[0]["wall_seconds"] > 0.0
    assert evaluations[0]["base_mean_return"] > -20.0  # it does what the scripted one did


@pytest.mark.parametrize("stop", [1, 7, 20])
def test_a_stopped_preparation_goes_on_with_the_same_numbers(made: Any, stop: int, tmp_path: Path) -> None:
    kind, path = made
    with pytest.raises(Interrupted, match="preparation"):
        residual_rl.improve(Aim, kind(stop=stop), out=tmp_path / "run", **FEW)
    assert not (tmp_path / "run" / "evaluations.csv").exists()
    rest = kind()
    residual_rl.improve(Aim, rest, out=tmp_path / "run", **FEW)
    assert rest.rolled_out == 20 - stop
    np.testing.assert_equal(numbers(tmp_path / "run"), numbers(path))


def test_a_stopped_training_does_not_prepare_again(made: Any, tmp_path: Path) -> None:
    kind, path = made

    def stop(progress: Any) -> None:
        if progress.step > 600:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        residual_rl.improve(Aim, kind(), out=tmp_path / "run", on_progress=stop, checkpoint_seconds=0.0, **FEW)
    rest = kind()
    residual_rl.improve(Aim, rest, out=tmp_path / "run", **FEW)
    assert rest.rolled_out == 0
    np.testing.assert_equal(numbers(tmp_path / "run"), numbers(path))


def test_the_run_keeps_its_base(made: Any) -> None:
    kind, path = made
    policy = residual_rl.load(path, kind())
    observation = np.array([0.25], np.float32)
    np.testing.assert_allclose(policy(observation), 1.5, atol=0.8)
    if kind is as_table:
        np.testing.assert_array_equal(residual_rl.load(path)(observation), policy(observation))
        return
    with pytest.raises(ControllerError, match="a gain of yours: pass what made it"):
        residual_rl.load(path)
    (path / "base" / "gain.json").write_text("[1.0, 2.0]")
    with pytest.raises(ControllerError, match="is damaged"):
        residual_rl.load(path, kind())


def test_other_settings_are_refused_with_the_difference(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        residual_rl.improve(Aim, as_table(stop=2), out=tmp_path, **FEW)
    with pytest.raises(RunError, match=r"settings.episodes: 20 -> 30"):
        residual_rl.improve(Aim, as_table(30), out=tmp_path, **FEW)
    with pytest.raises(RunError, match=r"seed: 0 -> 1"):
        residual_rl.improve(Aim, as_table(), out=tmp_path, seed=1, **FEW)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResidualRLError, match="none is left to train"):
        residual_rl.improve(Aim, as_table(60), out=tmp_path / "long", **few(steps=200))
    with pytest.raises(ResidualRLError, match="made inside of a run"):
        residual_rl.evaluate(Aim, as_table(), horizon=20, episodes=2)
    with pytest.raises(ResidualRLError, match="batch_size"):
        residual_rl.improve(Aim, as_table(), out=tmp_path / "bad", **few(batch_size=-1))
    assert not (tmp_path / "bad").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    with pytest.raises(RunError, match=r"not empty \(it holds thesis.txt\)"):
        residual_rl.improve(Aim, as_table(), out=tmp_path / "mine", **FEW)


def test_an_artefact_answers_in_the_units_of_the_library() -> None:
    table = TableController(np.zeros((1, 1)), np.ones((1, 1)))
    empty = Observation(observation=np.zeros((2, 1)), achieved_goal=np.zeros((2, 0)), desired_goal=np.zeros((2, 0)))
    np.testing.assert_array_equal(table(map_observation(np.copy, empty)), np.ones((2, 1)))
