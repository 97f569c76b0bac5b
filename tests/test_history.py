"""What the learner sees of the latest observations is the same in acting and in learning, and suffices if one does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from worlds import BUDGET, QUICK

import residual_rl
from residual_rl.errors import ResidualRLError
from residual_rl.learning.history import History, seen, with_history
from residual_rl.learning.replay import Replay, example_transition
from residual_rl.types import Observation, Spec, Transition

SPEC = Spec(observation_size=2, goal_size=1, action_size=1, horizon=5)


def episode(length: int, first: int) -> Transition:
    """Steps whose observations are numbered from `first` on."""
    steps = np.arange(first, first + length, dtype=np.float32)

    def observed(numbers: np.ndarray) -> Observation:
        goals = np.zeros((length, 1), np.float32)
        return Observation(observation=np.stack([numbers, -numbers], axis=1), achieved_goal=goals, desired_goal=goals)

    example = example_transition(SPEC)
    zeros = {name: np.zeros((length, 1), np.float32) for name in ("base_action", "residual", "action", "next_base_action")}
    flags = {name: np.zeros(length, bool) for name in ("terminated", "truncated")}
    numbers = {name: np.zeros(length, np.float32) for name in ("reward", "discount")}
    return example._replace(observation=observed(steps), next_observation=observed(steps + 1), **zeros, **flags, **numbers)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_what_is_learned_from_is_what_was_acted_on(length: int) -> None:
    replay, episodes = Replay(example_transition(SPEC), 20), [episode(5, 0), episode(2, 100), episode(4, 200)]
    acted: list[np.ndarray] = []
    history = History(length)
    for one in episodes:
        replay.add_episode(one)
        history.start()
        for step in range(len(one.reward)):
            shown = {key: array[step : step + 1] for key, array in one.observation.items()}
            acted.append(history(shown)["observation"])  # type: ignore[arg-type]
        # The observation after the last step is what would have been acted on next.
        final = {key: array[-1:] for key, array in one.next_observation.items()}
        acted.append(history(final)["observation"])  # type: ignore[arg-type]
    numbers = np.arange(11)
    drawn = with_history(replay.rows(numbers), replay, numbers, numbers, length)
    assert drawn.observation["observation"].shape == (11, seen(SPEC, length).observation_size)
    befores = [0, 1, 2, 3, 4, 6, 7, 9, 10, 11, 12]  # of the 14 observations, those that a step followed
    np.testing.assert_array_equal(drawn.observation["observation"], np.concatenate([acted[one] for one in befores]))
    np.testing.assert_array_equal(drawn.next_observation["observation"], np.concatenate([acted[one + 1] for one in befores]))


def test_steps_of_another_number_of_episodes_do_not_follow() -> None:
    history, shown = History(2), np.zeros((3, 2))
    history(Observation(observation=shown, achieved_goal=shown, desired_goal=shown))
    with pytest.raises(ValueError, match=r"3 episodes were under way, now there are 2; call reset\(2\)"):
        history(Observation(observation=shown[:2], achieved_goal=shown[:2], desired_goal=shown[:2]))


class Slope(gymnasium.Env):
    """Shows a number that moves; the right action is its last change, of which a single observation says nothing."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.at, self.change, self.left = float(self.np_random.uniform(-10.0, 10.0)), 0.0, 8
        return np.array([self.at], np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = -float((action[0] - self.change) ** 2)
        self.left -= 1
        self.change = float(self.np_random.choice([-0.8, 0.8]))
        self.at += self.change
        return np.array([self.at], np.float32), reward, False, self.left == 0, {}


def still(observation: np.ndarray) -> np.ndarray:
    return 0.0 * observation


def test_a_learner_with_a_history_learns_what_one_observation_does_not_show(tmp_path: Path) -> None:
    budget = BUDGET | {"horizon": 8, "algorithm": replace(QUICK, history=2), "steps": 4000}
    run = residual_rl.improve(Slope, still, out=tmp_path / "run", **budget)
    verdict = run.verdict()
    assert verdict.promoted, verdict
    assert verdict.policy.mean_return > 0.7 * verdict.base.mean_return, verdict
    policy = residual_rl.load(tmp_path / "run", still)
    for first, change in ((3.0, 0.8), (-2.0, -0.8)):
        policy.reset()
        policy(np.array([first], np.float32))
        assert policy(np.array([first + change], np.float32))[0] * np.sign(change) > 0.3
    assert residual_rl.diagnose(tmp_path / "run").findings
    with pytest.raises(ResidualRLError, match=r"a bundle sees one observation, but this policy sees the latest 2"):
        residual_rl.export(tmp_path / "run", tmp_path / "out")
