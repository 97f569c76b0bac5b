"""Comparisons of runs and controllers: in a world that drifts, before a run is finished, and with nothing learned."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from interrupting import stop_after
from typer.testing import CliRunner
from worlds import BUDGET, Aim

import residual_rl
from residual_rl.cli.comparisons import means_run
from residual_rl.cli.main import app
from residual_rl.errors import Interrupted, RunError, WorldError
from residual_rl.runs.reading import read_config, read_judgements, read_repeatability, read_rows
from residual_rl.runs.run import Run
from residual_rl.seeds import Purpose
from residual_rl.storage import read_arrays

SHORT: dict[str, Any] = BUDGET | {"steps": 2000, "evaluation_episodes": 16, "verdict_episodes": 32}
QUIET: dict[str, Any] = {"horizon": 20, "tell": lambda line: None}


class Ageing(gymnasium.Env):
    """Pays the more the older it is, whatever is done."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self) -> None:
        self.age = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.shown = self.np_random.normal(size=1).astype(np.float32)
        return self.shown, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.age += 1
        return self.shown, 0.001 * self.age, False, False, {}


def idle(observation: np.ndarray) -> np.ndarray:
    return np.zeros_like(observation)


def test_a_plant_that_gets_better_by_itself_promotes_nothing_and_is_named(tmp_path: Path) -> None:
    lines: list[str] = []
    run = residual_rl.improve(Ageing, idle, out=tmp_path, **SHORT | {"steps": 400, "tell": lines.append})
    verdict = run.verdict()
    assert not verdict.promoted
    assert verdict.pairing == "unpaired"
    assert verdict.difference_interval[0] <= 0.0 <= verdict.difference_interval[1]
    assert abs(verdict.difference) < 0.1 * verdict.base.mean_return
    found = read_repeatability(tmp_path)
    assert found is not None
    assert (found.differing, found.pairing) == (16, "unpaired")
    assert any("Ageing: the same start and the same actions gave other rewards in 16 of 16" in line for line in lines)
    rows = read_rows(tmp_path / "evaluations.csv")
    assert rows[-1]["base_mean_return"] > rows[0]["base_mean_return"]  # the base is played anew each time


class BreaksInTraining(Aim):
    """Breaks at the first step of every training episode, and of no other."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.breaks = seed is not None and seed >= Purpose.TRAINING
        return super().reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.breaks:
            raise RuntimeError("cable")
        return super().step(action)


def test_without_an_episode_to_learn_from_there_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="episodes that broke and were dropped: nothing was learned"):
        residual_rl.improve(BreaksInTraining, Aim.off_by(1.0), out=tmp_path, **SHORT | {"steps": 100})
    assert not (tmp_path / "verdict.json").exists()


# ---- unfinished runs ----


def assert_same_numbers(one: Path, other: Path) -> None:
    for name in ("metrics.csv", "evaluations.csv"):
        first, second = (
            [{key: value for key, value in row.items() if key != "wall_seconds"} for row in read_rows(path / name)]
            for path in (one, other)
        )
        np.testing.assert_equal(first, second)
    arrays, others = (read_arrays(path / "policy.safetensors")[0] for path in (one, other))
    assert all(np.array_equal(arrays[name], others[name]) for name in arrays)


def test_an_unfinished_run_is_judged_and_used_and_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    residual_rl.improve(Aim, Aim.off_by(1.0), out=whole, **SHORT)
    with pytest.raises(Interrupted):
        residual_rl.improve(Aim, Aim.off_by(1.0), out=stopped, on_progress=stop_after(16), **SHORT)
    with pytest.raises(RunError, match="was never judged"):
        residual_rl.load(stopped, Aim.off_by(1.0), unfinished=True)
    run = Run(stopped, read_config(stopped))
    verdict = run.judge(Aim.off_by(1.0), env=Aim)
    assert verdict.episodes == SHORT["verdict_episodes"]
    (judgement,) = read_judgements(stopped)
    assert judgement.verdict == verdict
    policy = residual_rl.load(stopped, Aim.off_by(1.0), unfinished=True)
    assert policy.promoted == verdict.promoted
    assert policy(np.zeros(1, np.float32)).shape == (1,)
    with pytest.raises(RunError, match="no verdict yet"):
        residual_rl.load(stopped, Aim.off_by(1.0))
    residual_rl.improve(Aim, Aim.off_by(1.0), out=stopped, **SHORT)
    assert_same_numbers(whole, stopped)
    assert run.verdict() == Run(whole, read_config(whole)).verdict()
    assert run.verdict() != verdict  # it is of other initial states
    assert not list(stopped.glob("judged-*"))
    with pytest.raises(RunError, match="is finished, and its verdict stands"):
        residual_rl.judge(stopped, Aim.off_by(1.0), env=Aim)
    again = run.reevaluate(Aim.off_by(1.0), env=Aim, episodes=SHORT["verdict_episodes"])
    assert again.difference == run.verdict().difference
    assert residual_rl.load(stopped, Aim.off_by(1.0), unfinished=True).promoted == run.verdict().promoted


def test_a_run_without_a_policy_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="it is no run directory"):
        residual_rl.judge(tmp_path)


# ---- two controllers ----


def test_a_better_controller_is_found_before_all_episodes_are_played() -> None:
    found = residual_rl.compare(Aim, Aim.off_by(1.0), Aim.off_by(0.1), episodes=200, **QUIET)
    assert found.better
    assert found.conclusion == "better"
    assert found.episodes < 200 == found.planned
    assert f"stopped after {found.episodes} of 200 pairs" in str(found)
    assert residual_rl.compare(Aim, Aim.off_by(0.1), Aim.off_by(1.0), episodes=200, **QUIET).worse


def test_the_same_controller_is_neither_better_nor_worse() -> None:
    found = residual_rl.compare(Aim, Aim.off_by(0.5), Aim.off_by(0.5), episodes=40, **QUIET)
    assert (found.better, found.worse, found.deviates, found.episodes) == (False, False, False, 40)


def test_a_change_that_does_harm_in_rare_states_is_found_though_it_does_nothing_in_the_first_episodes() -> None:
    def rarely_wrong(observation: np.ndarray) -> np.ndarray:
        return 1.0 + 2.0 * observation - 3.0 * (observation > 0.98)

    few = residual_rl.compare(Aim, Aim.off_by(0.0), rarely_wrong, episodes=400 // 16, **QUIET)
    assert few.episodes == 25
    found = residual_rl.compare(Aim, Aim.off_by(0.0), rarely_wrong, episodes=400, **QUIET)
    assert found.worse


def test_the_command_fails_if_the_policy_is_significantly_worse() -> None:
    arguments = ["compare", "push", "--episodes", "60", "--threads", "1", "--json"]
    worse = CliRunner().invoke(app, [*arguments, "--base", "reactive-push", "--policy", "zero"])
    assert worse.exit_code == 1
    assert '"conclusion": "worse"' in worse.stdout
    better = CliRunner().invoke(app, [*arguments, "--base", "zero", "--policy", "reactive-push"])
    assert better.exit_code == 0
    assert '"conclusion": "better"' in better.stdout
    unknown = CliRunner().invoke(app, [*arguments, "--base", "zero", "--policy", "reactive-pusher"])
    assert unknown.exit_code == 2
    assert "there is no controller called 'reactive-pusher'" in unknown.stderr


def test_a_directory_does_not_hide_the_environment_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("Pendulum-v1", "push", "mine"):
        (tmp_path / name).mkdir()
    assert [means_run(name) for name in ("Pendulum-v1", "push", "mine", "./push", "./Pendulum-v1", "nowhere")] == [
        *(False, False, True, True, True, False),
    ]
    assert residual_rl.evaluate("push", "zero", episodes=2, num_threads=1).task == "push"


# ---- one real plant ----


def test_on_the_bench_few_episodes_judge_and_the_verdict_stops_when_it_is_certain(tmp_path: Path) -> None:
    fields = {name: value for name, value in SHORT.items() if not name.startswith(("evaluation", "verdict"))}
    run = residual_rl.improve(
        Aim(), Aim.off_by(1.0), out=tmp_path, **fields | {"episodes_per_cycle": 1, "steps": 400}, judging="bench"
    )
    assert (run.config.evaluation_episodes, run.config.evaluation_interval) == (4, 100)
    verdict = run.verdict()
    assert verdict.planned == run.config.verdict_episodes == 48
    assert verdict.episodes in (12, 24, 48)
