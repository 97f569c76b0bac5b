"""Runs in environments that users bring: learned, judged, stopped, gone on with, and refused."""

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import ROUNDING
from interrupting import stop_after
from pydantic import ValidationError
from worlds import BUDGET, QUICK, Aim, Reach

import residual_rl
from residual_rl.custom.goals import GoalRules
from residual_rl.errors import ControllerError, Interrupted, ResidualRLError, RunError
from residual_rl.pairing.turns import Pairs, Turns
from residual_rl.runs.reading import read_policy, read_rows
from residual_rl.runs.run import Run
from residual_rl.storage import read_arrays
from residual_rl.verdict import Comparison


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that is off by 1, which costs 30 a step, in an environment whose episodes end by chance."""
    path = tmp_path_factory.mktemp("runs") / "aim"
    residual_rl.improve(Aim, Aim.off_by(1.0), out=path, steps=4000, **BUDGET)
    return path


def test_a_base_with_a_known_bias_is_improved_and_promoted(finished: Path) -> None:
    found = residual_rl.reevaluate(finished, Aim.off_by(1.0), env=Aim, episodes=128)
    assert isinstance(found, Comparison)
    assert found.measured_by == "return"
    assert found.better, found
    assert found.policy.mean_return > found.base.mean_return / 2, found


def test_the_policy_speaks_the_environments_language(finished: Path) -> None:
    policy = residual_rl.load(finished, Aim.off_by(1.0))
    observation = np.linspace(-0.8, 0.8, 5, dtype=np.float32)[:, None]
    actions = policy(observation)
    assert actions.shape == (5, 1)
    assert np.abs(actions - (1.0 + 2.0 * observation)).mean() < 0.8  # the base's: 1
    # A batch of one adds in another order; the bounds -2 and 6 multiply the difference by 4.
    np.testing.assert_allclose(policy(observation[2]), actions[2], atol=4 * ROUNDING)
    assert Aim.action_space.contains(policy(observation[2]).astype(np.float32))


def test_steps_are_those_of_the_environment(tmp_path: Path) -> None:
    made_envs: list[Aim] = []

    def make() -> Aim:
        made_envs.append(Aim())
        return made_envs[-1]

    budget = BUDGET | {"steps": 300, "evaluation_interval": 10_000, "evaluation_episodes": 4, "verdict_episodes": 4}
    seen: list[tuple[int, int]] = []

    def note(progress: Any) -> None:
        seen.append((progress.step, sum(env.steps for env in made_envs)))

    run = residual_rl.improve(make, Aim.off_by(1.0), out=tmp_path, on_progress=note, **budget)
    rows = read_rows(run.path / "metrics.csv")
    assert [row["step"] for row in rows] == [step for step, _ in seen[1:]]
    steps, counted = np.diff(np.array(seen), axis=0).T
    assert np.array_equal(steps[:-1], counted[:-1])  # the last cycle is followed by an evaluation
    assert (steps > 16 * 3).all()
    assert len(set(steps.tolist())) > 1
    assert seen[-2][0] < 300 <= seen[-1][0]


class Planner:
    """Of single observations: `Aim.off_by(1.0)` to be made in other processes."""

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        return Aim.off_by(1.0)(observation)


def test_a_controller_in_processes_makes_the_same_run(tmp_path: Path) -> None:
    budget = BUDGET | {"steps": 1200, "evaluation_interval": 10_000, "evaluation_episodes": 4, "verdict_episodes": 16}
    with residual_rl.in_processes(Planner, workers=2) as controller:
        residual_rl.improve(Aim, controller, out=tmp_path / "processes", **budget)
    residual_rl.improve(Aim, residual_rl.batched(Planner()), out=tmp_path / "here", **budget)
    for name in ("verdict.json", "policy.safetensors"):
        assert (tmp_path / "processes" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_an_evaluation_follows_each_interval(finished: Path) -> None:
    steps = [row["step"] for row in read_rows(finished / "evaluations.csv")]
    assert steps[0] == 0
    assert [int(step // 1000) for step in steps] == [0, 1, 2, 3, 4]
    assert all(step % 1000 < 16 * 8 for step in steps)


@pytest.mark.parametrize("stop_at", [2, 20])
def test_a_run_that_was_stopped_goes_on_with_the_same_numbers(finished: Path, tmp_path: Path, stop_at: int) -> None:
    with pytest.raises(Interrupted):
        residual_rl.improve(Aim, Aim.off_by(1.0), out=tmp_path, steps=4000, on_progress=stop_after(stop_at), **BUDGET)
    residual_rl.improve(Aim, Aim.off_by(1.0), out=tmp_path, steps=4000, **BUDGET)
    for name in ("metrics.csv", "evaluations.csv"):
        mine, whole = ([{**row, "wall_seconds": 0.0} for row in read_rows(path / name)] for path in (tmp_path, finished))
        assert mine == whole
    assert (tmp_path / "verdict.json").read_text() == (finished / "verdict.json").read_text()
    assert (tmp_path / "policy.safetensors").read_bytes() == (finished / "policy.safetensors").read_bytes()


@pytest.mark.parametrize(("stop_at", "evaluations"), [(1000, 1), (3000, 3)])
def test_a_run_that_is_to_stop_begins_no_evaluation_and_makes_it_up(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int, evaluations: int
) -> None:
    """Evaluations may take minutes; who asks it to stop may not wait so long."""
    append = Run.append

    def stopping(self: Run, name: str, row: Any) -> None:
        append(self, name, row)
        if name == "metrics.csv" and row["step"] >= stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Run, "append", stopping)
    with pytest.raises(Interrupted):
        residual_rl.improve(Aim, Aim.off_by(1.0), out=tmp_path, steps=4000, **BUDGET)
    monkeypatch.undo()
    assert len(read_rows(tmp_path / "evaluations.csv")) == evaluations
    residual_rl.improve(Aim, Aim.off_by(1.0), out=tmp_path, steps=4000, **BUDGET)
    mine, whole = (
        [{**row, "wall_seconds": 0.0} for row in read_rows(path / "evaluations.csv")] for path in (tmp_path, finished)
    )
    assert mine == whole
    assert (tmp_path / "policy.safetensors").read_bytes() == (finished / "policy.safetensors").read_bytes()


def test_a_run_whose_numbers_could_not_be_written_goes_on_with_the_same(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, rows = Run.append, []

    def full(self: Run, name: str, row: Any) -> None:
        rows.append(name)
        if rows.count("metrics.csv") == 5:
            raise RunError("no space left")
        append(self, name, row)

    monkeypatch.setattr(Run, "append", full)
    with pytest.raises(RunError, match="no space left"):
        residual_rl.improve(Aim, Aim.off_by(1.0), out=tmp_path, steps=4000, **BUDGET)
    monkeypatch.undo()
    residual_rl.improve(Aim, Aim.off_by(1.0), out=tmp_path, steps=4000, **BUDGET)
    assert (tmp_path / "policy.safetensors").read_bytes() == (finished / "policy.safetensors").read_bytes()


def test_a_runs_file_names_no_other_method_than_the_two() -> None:
    with pytest.raises(ValidationError):
        GoalRules(True, "close")


def test_another_environment_and_none_are_refused(finished: Path) -> None:
    with pytest.raises(RunError, match="pass it as env"):
        residual_rl.reevaluate(finished, Aim.off_by(1.0), episodes=4)
    with pytest.raises(RunError, match="its task was Aim, not Reach"):
        residual_rl.reevaluate(finished, Aim.off_by(1.0), env=Reach, episodes=4)
    with pytest.raises(RunError, match="its horizon was 20, not 30"):
        residual_rl.improve(Aim, Aim.off_by(1.0), out=finished, steps=4000, **BUDGET | {"horizon": 30})
    with pytest.raises(ControllerError, match="which the run directory does not hold"):
        residual_rl.load(finished)


def test_a_bundle_has_the_environments_bounds(finished: Path, tmp_path: Path) -> None:
    from residual_rl.bundles import runtime

    residual_rl.export(finished, tmp_path / "bundle")
    bundle, policy = runtime.load(tmp_path / "bundle"), residual_rl.load(finished, Aim.off_by(1.0))
    observation = np.linspace(-0.8, 0.8, 9, dtype=np.float32)[:, None]
    np.testing.assert_allclose(bundle(observation, Aim.off_by(1.0)(observation)), policy(observation), atol=1e-4)
    assert bundle.manifest["bounds"] == {"low": [-2.0], "high": [6.0]}


def test_learning_that_diverged_is_named_and_never_delivered(tmp_path: Path) -> None:
    wild = BUDGET | {"algorithm": replace(QUICK, critic_rate=1e30)}
    for _ in range(2):  # it diverges again where it went on
        with pytest.raises(ResidualRLError, match="learning diverged after step"):
            residual_rl.improve(Aim, Aim.off_by(1.0), out=tmp_path, steps=4000, **wild)
    arrays, _, _ = read_policy(tmp_path)
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_updates_in_parts_are_as_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for most in (7, 2000):
        monkeypatch.setattr("residual_rl.training.cycle.MOST_UPDATES", most)
        out = tmp_path / str(most)
        with pytest.raises(Interrupted):
            residual_rl.improve(Aim, Aim.off_by(1.0), out=out, steps=4000, on_progress=stop_after(3), **BUDGET)
        arrays, _ = read_arrays(out / "checkpoint.safetensors")
        made.append(int(arrays["learner.updates"]))
        rows = read_rows(out / "metrics.csv")
    assert made[0] == made[1] == 30 * len(rows) > 30


def test_the_base_is_evaluated_once_however_often_a_run_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[int] = []

    class Counted(Turns):
        def play(self, seeds: Sequence[int]) -> Pairs:
            played.append(len(seeds))
            return super().play(seeds)

    monkeypatch.setattr("residual_rl.training.train.Turns", Counted)
    for _ in range(2):
        with pytest.raises(Interrupted):
            residual_rl.improve(Aim, Aim.off_by(1.0), out=tmp_path, steps=4000, on_progress=stop_after(2), **BUDGET)
    assert played == [BUDGET["evaluation_episodes"]]  # the base against itself, before the first step


def test_a_first_call_that_failed_says_nothing_about_the_next(tmp_path: Path) -> None:
    """What it found out about its controller, or its environment, need not be so any more."""

    def fails_later(observation: np.ndarray) -> np.ndarray:
        if (tmp_path / "environment.json").exists():
            raise RuntimeError("not now")
        return Aim.off_by(1.0)(observation)

    few = BUDGET | {"steps": 200, "evaluation_episodes": 4, "verdict_episodes": 4}
    with pytest.raises(ControllerError, match="not now"):
        residual_rl.improve(Aim, fails_later, out=tmp_path, **few)
    assert (tmp_path / "environment.json").exists()
    rng = np.random.default_rng(0)

    def random(observation: np.ndarray) -> np.ndarray:
        return Aim.off_by(1.0)(observation) + rng.normal(0.0, 0.1, np.shape(observation))

    lines: list[str] = []
    residual_rl.improve(Aim, random, out=tmp_path, **(few | {"horizon": 10, "tell": lines.append}))
    assert "stochastic" in lines[0].split(":")[1]


@pytest.mark.parametrize("seeded", [False, True])
def test_starts_that_no_seed_decides_are_pointed_out(seeded: bool) -> None:
    class Unseeded(Aim):
        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
            return super().reset(seed=seed if seeded else None, options=options)

    lines: list[str] = []
    residual_rl.evaluate(Unseeded, Aim.off_by(1.0), horizon=10, episodes=2, tell=lines.append)
    assert any("reset(seed=...) does not decide" in line for line in lines) == (not seeded)
