"""What the learner makes of the rewards of users' environments: their size, and where its values have their zero."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from residual_rl.custom.goals import NO_GOALS
from residual_rl.custom.rewards import reward_scale, usual_value
from residual_rl.custom.task import CustomTask
from residual_rl.spaces import layout_of
from residual_rl.types import Spec, Transition


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


@pytest.mark.parametrize("constant", [0.0, 100.0, -1e7])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_rewards_are_scaled_by_their_spread_about_the_usual_one(constant: float, size: float) -> None:
    constant *= size
    base = rewarded([constant] * 50, terminated=False)
    noisy = rewarded([constant - 3.0 * size * (step % 5 == 0) for step in range(50)], terminated=False)
    usual = usual_value([base], 0.9)
    assert usual == pytest.approx(10.0 * constant)
    # The root mean square is 3 sqrt(1 / 10) of the size.
    assert reward_scale([base, noisy], usual, 0.9) == pytest.approx(1.1 / size, rel=0.05)


@pytest.mark.parametrize(("reward", "scale"), [(0.0, 1.0), (-1.0, 1.0), (300.0, 0.0033), (0.1 + 0.2, 3.3)])
def test_rewards_that_never_change_are_scaled_by_their_size(reward: float, scale: float) -> None:
    episodes = [rewarded([reward] * 7, terminated=False), rewarded([reward] * 31, terminated=False)]
    assert reward_scale(episodes, usual_value(episodes, 0.95), 0.95) == scale


def test_what_the_end_of_an_episode_costs_counts_in_the_spread() -> None:
    """Where falling ends the pay, each step's pay matters, and a fall costs all that follows."""
    fallen, whole = rewarded([1.0] * 10, terminated=True), rewarded([1.0] * 50, terminated=False)
    usual = usual_value([fallen, whole], 0.98)
    assert reward_scale([fallen, whole], usual, 0.98) < 0.5
    assert reward_scale([whole, whole], usual_value([whole], 0.98), 0.98) == 1.0


def test_a_world_that_pays_the_same_for_ever_is_worth_its_sum_however_soon_it_is_cut() -> None:
    for steps in (1, 7, 50):
        assert usual_value([rewarded([2.0] * steps, terminated=False)], 0.9) == pytest.approx(20.0)


def test_a_world_that_ends_is_worth_what_it_paid() -> None:
    assert usual_value([rewarded([0.0, 10.0], terminated=True)], 0.9) == 9.5  # 9 and 10


def test_centred_rewards_shift_every_value_alike_also_where_the_world_ends() -> None:
    envs: Any = None
    spec, layout = Spec(1, 0, 1, 10), layout_of(spaces.Box(-1.0, 1.0, (1,)), spaces.Box(-1.0, 1.0, (1,)))
    task = CustomTask("", spec, layout, envs, NO_GOALS.reward, NO_GOALS.success, "return", 0.5, 8.0, episode_steps=3.0)
    for terminated in (True, False):
        episode = rewarded([1.0, 2.0, 3.0], terminated)
        value, centred = 30.0, 0.5 * (30.0 - 8.0)  # of what follows the last step, where anything does
        seen = task.learner_reward(episode.reward, episode.discount.astype(np.float32))
        np.testing.assert_allclose(task.own_reward(seen, episode.discount), episode.reward)
        for reward, shifted, discount in zip(episode.reward[::-1], seen[::-1], episode.discount[::-1], strict=True):
            value, centred = reward + discount * value, shifted + discount * centred
            assert centred == pytest.approx(0.5 * (value - 8.0))
