"""Environments of users that have goals: relabelled by their own reward, where that can be trusted."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from worlds import BUDGET, Aim, Reach, straight

import residual_rl
from residual_rl.custom.inspection import look
from residual_rl.custom.opened import Opened
from residual_rl.errors import Interrupted, ResidualRLError
from residual_rl.runs.reading import read_rows
from residual_rl.runs.run import Run


def found(env: Callable[[], gymnasium.Env], lines: list[str] | None = None) -> Any:
    return look(Opened(env, horizon=10), straight, [].append if lines is None else lines.append)


def test_goals_are_relabelled_by_the_environments_own_reward_whether_it_takes_batches_or_not() -> None:
    for in_batches in (True, False):
        about = found(lambda in_batches=in_batches: Reach(in_batches))
        rules = about.findings.goal_rules
        assert (rules.in_batches, rules.success) == (in_batches, "_is_success")
        assert (about.findings.measured_by, about.findings.sparse, about.findings.reward_scale) == ("success", True, 1.0)
        task = Opened(lambda in_batches=in_batches: Reach(in_batches), horizon=10).task(about, 2)
        achieved = np.array([[0.0, 0.0], [0.0, 0.3]])
        assert task.reward(achieved, np.zeros((2, 2)), {}).tolist() == [0.0, -1.0]
        assert task.success(achieved, np.zeros((2, 2))).tolist() == [True, False]
        assert task.spec.reward_range == (-1.0, 0.0)


def test_a_reward_that_is_not_that_of_the_step_switches_hindsight_off_and_says_so(tmp_path: Path) -> None:
    lines: list[str] = []
    assert found(lambda: Reach(honest=False), lines).findings.goal_rules is None
    assert any("no hindsight, because its compute_reward gives -1 where step gave -1.5" in line for line in lines)
    budget = BUDGET | {"steps": 160, "evaluation_episodes": 2, "verdict_episodes": 2}
    run = residual_rl.improve(lambda: Reach(honest=False), straight, out=tmp_path, **budget)
    assert run.config.hindsight.relabel_ratio == 0.0


def test_a_reward_without_end_at_the_goal_switches_hindsight_off_and_says_so() -> None:
    class Near(Reach):
        def _reward(self, achieved: Any, desired: Any) -> Any:
            with np.errstate(divide="ignore"):
                return -np.log(np.linalg.norm(np.asarray(achieved) - desired, axis=-1))

        def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
            return self._reward(achieved_goal, desired_goal)

        def step(self, action: Any) -> Any:
            shown, _, *others = super().step(action)
            return shown, float(self._reward(shown["achieved_goal"], shown["desired_goal"])), *others

    lines: list[str] = []
    assert found(Near, lines).findings.goal_rules is None
    assert any("no hindsight, because its compute_reward is not finite at goals that were reached" in line for line in lines)


def test_a_controller_that_reads_the_goal_is_found_out_and_one_that_does_not() -> None:
    assert found(Reach).character.reads_goal
    about = look(Opened(Reach, horizon=10), lambda observation: np.array([0.5, 0.0]), lambda line: None)
    assert not about.character.reads_goal


def test_a_goal_environment_is_improved_in(tmp_path: Path) -> None:
    def timid(observation: Any) -> np.ndarray:
        return np.array([0.5, 0.0]) + 0.1 * (straight(observation) - np.array([0.5, 0.0]))

    budget = BUDGET | {"steps": 4000, "horizon": 10}
    run = residual_rl.improve(Reach, timid, out=tmp_path, **budget)
    verdict = run.verdict()
    assert verdict.measured_by == "success"
    assert verdict.promoted, verdict
    policy = residual_rl.load(tmp_path, timid)
    shown, _ = Reach().reset(seed=1)
    assert Reach.action_space.contains(policy(shown).astype(np.float32))


def test_hindsight_is_refused_where_nobody_knows_what_another_goal_is_worth(tmp_path: Path) -> None:
    with pytest.raises(ResidualRLError, match=r"relabel_ratio is 0\.8, but Aim cannot be asked"):
        residual_rl.improve(Aim, Aim.off_by(1.0), out=tmp_path, steps=100, **{**BUDGET, "hindsight.relabel_ratio": 0.8})


class Learning(Reach):
    """What its reward needs is known from the first reset on."""

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        self.tolerance = 0.15
        return super().reset(**arguments)

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> Any:
        return (np.linalg.norm(achieved - desired, axis=-1) < self.tolerance) - 1.0


@pytest.mark.parametrize("lone", [False, True])
def test_a_run_goes_on_where_rewards_need_what_a_reset_leaves(tmp_path: Path, lone: bool) -> None:
    def improve(out: str, **fields: Any) -> Run:
        few = {"steps": 200, "evaluation_episodes": 2, "verdict_episodes": 2, "episodes_per_cycle": 1 if lone else 2}
        env = Learning() if lone else Learning
        return residual_rl.improve(env, straight, out=tmp_path / out, **(BUDGET | few | fields))

    def stop(progress: Any) -> None:
        if progress.step >= 80:
            signal.raise_signal(signal.SIGTERM)

    improve("whole")
    with pytest.raises(Interrupted):
        improve("parts", on_progress=stop)
    improve("parts")
    whole, parts = (read_rows(tmp_path / name / "metrics.csv") for name in ("whole", "parts"))
    assert [row | {"wall_seconds": 0.0} for row in whole] == [row | {"wall_seconds": 0.0} for row in parts]
    assert b"\r" not in (tmp_path / "parts" / "metrics.csv").read_bytes()


def test_a_predicate_of_one_goal_is_not_taken_for_one_of_many() -> None:
    class OneAtATime(Reach):
        def _is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
            return np.linalg.norm(np.ravel(achieved)[:2] - np.ravel(desired)[:2]) < 0.15

    rules = look(Opened(OneAtATime, horizon=500), straight, [].append).findings.goal_rules
    assert rules.success is None
