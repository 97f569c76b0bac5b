"""What the learner makes of the rewards of users' environments: their size, and where its values have their zero."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from residual_rl.custom.goals import NO_GOALS
from residual_rl.custom.inspection import reward_scale, usual_value
from residual_rl.custom.task import CustomTask
from residual_rl.spaces import layout_of
from residual_rl.types import Spec, Transition


@pytest.mark.parametrize(
    ("rewards", "scale"),
    [([-1.0, 0.0, -1.0], 1.0), ([0.0, 0.0], 1.0), ([300.0, 300.0], 0.0033), ([-16.0, 0.0], 0.088), ([1e-3, 1e-3], 1000.0)],
)
def test_rewards_are_scaled_to_the_size_that_the_learner_is_used_to(rewards: list[float], scale: float) -> None:
    assert reward_scale(np.array(rewards)) == scale


def rewarded(rewards: list[float], terminated: bool) -> Transition:
    ended = np.zeros(len(rewards), dtype=bool)
    ended[-1] = terminated
    nothing: Any = None
    return Transition(
        observation=nothing,
        base_action=nothing,
        residual=nothing,
        action=nothing,
        reward=np.array(rewards),
        terminated=ended,
        truncated=~ended,
        discount=np.where(ended, 0.0, 0.9),
        next_observation=nothing,
        next_base_action=nothing,
    )


def test_a_world_that_pays_the_same_for_ever_is_worth_its_sum_however_soon_it_is_cut() -> None:
    for steps in (1, 7, 50):
        assert usual_value([rewarded([2.0] * steps, terminated=False)], 0.9) == 20.0


def test_a_world_that_ends_is_worth_what_it_paid() -> None:
    assert usual_value([rewarded([0.0, 10.0], terminated=True)], 0.9) == 9.5  # 9 and 10


def test_centred_rewards_shift_every_value_alike_also_where_the_world_ends() -> None:
    envs: Any = None
    spec, layout = Spec(1, 0, 1, 10), layout_of(spaces.Box(-1.0, 1.0, (1,)), spaces.Box(-1.0, 1.0, (1,)))
    task = CustomTask("", spec, layout, envs, NO_GOALS.reward, NO_GOALS.success, "return", reward_scale=0.5, usual_value=8.0)
    for terminated in (True, False):
        episode = rewarded([1.0, 2.0, 3.0], terminated)
        value, centred = 30.0, 0.5 * (30.0 - 8.0)  # of what follows the last step, where anything does
        seen = task.learner_reward(episode.reward, episode.discount)
        for reward, shifted, discount in zip(episode.reward[::-1], seen[::-1], episode.discount[::-1], strict=True):
            value, centred = reward + discount * value, shifted + discount * centred
            assert centred == pytest.approx(0.5 * (value - 8.0))
