"""A controller may fail: the episode counts as failed, is reported, and the run continues, or ends with the policy so far."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from worlds import BUDGET, Reach, straight

import residual_rl
from residual_rl.controllers.answers import tolerating_failures
from residual_rl.controllers.controller import batched, propose
from residual_rl.custom.description import Description, Findings
from residual_rl.custom.opened import Opened
from residual_rl.errors import ControllerError
from residual_rl.evaluation import base_alone, roll_out
from residual_rl.residual import Composition
from residual_rl.rollout import ControllerFailure, collect
from residual_rl.runs.reading import read_rows
from residual_rl.training.cycle import MAX_DROPPED_IN_A_ROW
from residual_rl.types import Observation

FEW: dict[str, Any] = BUDGET | {
    "steps": 2000,
    "horizon": 6,
    "evaluation_episodes": 8,
    "verdict_episodes": 8,
    "evaluation_interval": 1000,
}


class Path1D(gymnasium.Env):
    """A point on a line that begins anywhere in [-1, 1]; what is done moves it. It is rewarded for being at 0."""

    observation_space = spaces.Box(-10.0, 10.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = float(self.np_random.uniform(-1.0, 1.0))
        return np.array([self.at], np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.at += 0.5 * float(action[0])
        return np.array([self.at], np.float32), -abs(self.at), False, False, {}


class Planner:
    """Goes to 0, and finds no plan beyond `reach`."""

    def __init__(self, reach: float, way: str = "raises"):
        self.reach, self.way = reach, way

    def __call__(self, observation: np.ndarray) -> Any:
        if abs(observation[0]) > self.reach:
            if self.way == "raises":
                raise RuntimeError("infeasible")
            return None if self.way == "none" else np.array([np.nan])
        return [-0.5 * observation[0]]


class Warm(Planner):
    """Keeps its last plan."""

    def reset(self) -> None:
        self.last = 0.0

    def __call__(self, observation: np.ndarray) -> Any:
        answer = super().__call__(observation)
        self.last = 0.0 if answer is None else float(answer[0])
        return answer


def lanes(count: int) -> Any:
    opened = Opened(Path1D, 6)
    about = Description(opened.name, opened.layout, 6, Findings("return", 1.0, False, 6.0, None), None)
    return opened, opened.task(about, count).open_lanes()


def base_of(call: Any) -> Any:
    from residual_rl.controllers.adapted import Adapted, Character

    opened, envs = lanes(12)
    remembers = hasattr(call, "reset")
    takes_batch = getattr(call, "takes_batch", False)
    return envs, Adapted(call, opened.layout, Character(takes_batch, False, remembers, False, False, 0.0, "copied"))


@pytest.mark.parametrize("way", ["raises", "none", "nan"])
@pytest.mark.parametrize("kind", ["plain", "batched", "per_lane", "in_processes", "warm"])
def test_only_the_episode_in_which_it_fails_is_lost(way: str, kind: str) -> None:
    if kind == "in_processes" and way != "raises":
        pytest.skip("one way is enough: processes take seconds")
    call: Any = {
        "plain": lambda: Planner(0.5, way),
        "batched": lambda: batched(Planner(0.5, way)),
        "per_lane": lambda: residual_rl.per_lane(lambda: Warm(0.5, way)),
        "in_processes": lambda: residual_rl.in_processes(lambda: Planner(0.5, way), 2),
        "warm": lambda: Warm(0.5, way),
    }[kind]()
    envs, base = base_of(call)
    seeds = list(range(12))
    starts = envs.reset(seed=seeds)[0]["observation"][:, 0]
    fails = np.abs(starts) > 0.5
    assert 2 < fails.sum() < 10
    episodes, dropped = collect(envs, base, Composition(), lambda _, action, step: np.zeros_like(action), seeds)
    assert [episode.lane for episode in episodes] == np.flatnonzero(~fails).tolist()
    assert all(isinstance(reason, ControllerFailure) for reason in dropped)
    assert all("step 0" in reason for reason in dropped)
    word = {"raises": "infeasible", "none": "returned None", "nan": "nan in entry 0"}[way]
    assert all(word in reason for reason in dropped)
    with pytest.warns(RuntimeWarning, match=rf"{fails.sum()} of 12 episodes broke and count as failures: controller .*{word}"):
        outcome = roll_out(envs, base_alone(base, Composition(), 1), seeds)
    np.testing.assert_array_equal(np.isneginf(outcome.returns), fails)
    if kind == "in_processes":
        call.close()


def test_a_lane_that_failed_disturbs_no_other_and_the_next_episode_begins_anew() -> None:
    envs, base = base_of(Warm(0.5))
    zero = lambda _, action, step: np.zeros_like(action)  # noqa: E731
    together, _ = collect(envs, base, Composition(), zero, list(range(12)))
    again, _ = collect(envs, base, Composition(), zero, list(range(12)))
    for one, other in zip(together, again, strict=True):
        np.testing.assert_array_equal(one.transitions.action, other.transitions.action)


def test_one_that_fails_at_every_start_cannot_be_evaluated() -> None:
    envs, base = base_of(Planner(-1.0))
    with pytest.raises(
        ControllerError, match=r"controller 'Planner' raised RuntimeError: infeasible \(step 0 of the episode\)"
    ):
        roll_out(envs, base_alone(base, Composition(), 1), list(range(24)))


def test_the_rows_of_a_batch_that_fail_are_found_in_few_questions() -> None:
    asked = []

    def law(observation: Observation) -> np.ndarray:
        asked.append(len(observation["observation"]))
        if (observation["observation"] > 0.98).any():
            raise RuntimeError("infeasible")
        return observation["observation"]

    rows = np.random.default_rng(0).uniform(size=(512, 1))
    observation = Observation(observation=rows, achieved_goal=rows[:, :0], desired_goal=rows[:, :0])
    with tolerating_failures() as failed:
        actions = propose(law, observation, 1)
    expected = np.flatnonzero(rows[:, 0] > 0.98)
    assert sorted(failed) == expected.tolist()
    assert (actions[expected] == 0.0).all()
    np.testing.assert_array_equal(np.delete(actions, expected), np.delete(rows, expected))
    assert len(asked) < 20 * len(expected)


class Starts(Path1D):
    """Begins where the planner has a plan."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.at *= 0.3
        return np.array([self.at], np.float32), {}


class Far(Path1D):
    """Begins far from 0."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = 0.275 + 0.025 * self.at
        return np.array([self.at], np.float32), {}


def test_a_planner_that_fails_off_its_own_path_is_improved_all_the_same(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="infeasible"):
        run = residual_rl.improve(Starts, Planner(0.301), out=tmp_path, **FEW)
    rows = read_rows(tmp_path / "metrics.csv")
    assert any(row["dropped_episodes"] > 0 for row in rows)
    assert rows[-1]["step"] >= 2000
    assert run.verdict() is not None


def test_too_many_failures_end_the_run_with_what_was_learned(tmp_path: Path) -> None:
    class Tires(Planner):
        """Finds no plan any more from the fourth cycle on, but at the start of an episode."""

        def __call__(self, observation: np.ndarray) -> Any:
            if abs(observation[0]) < 0.24 and len(read_rows(tmp_path / "metrics.csv")) >= 3:
                raise RuntimeError("infeasible")
            return super().__call__(observation)

    tires: Any = Tires(5.0)
    tires.is_stateful = tires.is_random = False
    with pytest.warns(RuntimeWarning, match="training ends with the policy so far"):
        run = residual_rl.improve(Far, tires, out=tmp_path, **FEW)
    rows = read_rows(tmp_path / "metrics.csv")
    assert rows[-1]["step"] < 2000
    assert sum(row["dropped_episodes"] for row in rows) >= MAX_DROPPED_IN_A_ROW
    assert run.verdict() is not None


class Choosy(Planner):
    """Has a plan only for starts on one side."""

    def __init__(self, side: float):
        super().__init__(reach=10.0)
        self.side = side

    def __call__(self, observation: np.ndarray) -> Any:
        if np.ndim(observation) > 1 or self.side * observation[0] < 0.0:
            raise RuntimeError("infeasible")
        return super().__call__(observation)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_planner_without_a_plan_for_many_starts_is_looked_at_from_others(side: float) -> None:
    with pytest.warns(RuntimeWarning, match="episodes broke and count as failures: controller 'Choosy' raised RuntimeError"):
        found = residual_rl.evaluate(Path1D, Choosy(side), episodes=16, horizon=1, tell=None)
    assert np.isfinite(found.base.mean_return)


def test_a_reset_that_raises_is_the_controllers_failure() -> None:
    class Broken(Planner):
        def reset(self) -> None:
            raise ValueError("no map")

    with pytest.raises(ControllerError, match="reset of controller 'Broken' raised ValueError: no map"):
        residual_rl.evaluate(Path1D, Broken(10.0), episodes=2, horizon=3, tell=None)


def test_a_planner_that_fails_at_other_goals_reads_the_goal() -> None:
    told: list[str] = []

    def planner(observation: dict[str, np.ndarray]) -> np.ndarray:
        if np.abs(observation["desired_goal"]).max() > 0.5:  # where no goal of this world lies
            raise RuntimeError("unreachable")
        return straight(observation)

    residual_rl.evaluate(Reach, planner, episodes=2, horizon=5, tell=told.append)
    assert any("planner: " in line and "goal-conditioned" in line for line in told)
