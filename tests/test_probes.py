"""Does learning learn? Each probe has an answer that can be worked out, and says what not learning would score."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from probes import LINE, SMALL, Plane, acted, in_minibatches, line_transitions, update_many

from residual_rl.learning import algorithm as learning
from residual_rl.learning.exploration import greedy
from residual_rl.learning.hindsight import Hindsight
from residual_rl.learning.networks import values_of
from residual_rl.learning.normalizer import normalize

UPDATES, BATCH = 1500, 64
FREE = SMALL | {"ddpg": replace(SMALL["ddpg"], residual_penalty=0.0)}
"""Without the published penalty, which would move the optimum by a known amount."""
both = pytest.mark.parametrize("algorithm", FREE.values(), ids=FREE)


def learned(algorithm, transitions):
    learner = learning.init(algorithm, LINE, jax.random.key(0))
    learner = learning.count_in(algorithm, learner, transitions)
    return update_many(algorithm, learner, in_minibatches(transitions, UPDATES, BATCH), LINE)[0]


def values(algorithm, learner, transitions):
    """The mean critic's value of what was done."""
    features = algorithm.features(transitions.observation, transitions.base_action)
    scored = algorithm.composition.scored_of(transitions)
    return np.asarray(values_of(learner.critics, normalize(learner.normalizer, features), scored).mean(axis=0))


def action(algorithm, learner, transitions):
    """What base plus residual would do, without exploration."""
    roles = greedy(len(transitions.reward))
    residual = acted(algorithm, learner.current, transitions.observation, transitions.base_action, jax.random.key(0), roles)
    return np.asarray(algorithm.composition.action(transitions.base_action, residual))[:, 0]


@both
def test_a_constant_reward_is_worth_itself_times_the_horizon(algorithm):
    """Never rewarded: 0. A critic that does not bootstrap: -1. The answer: -1 / (1 - 3/4) = -4."""
    transitions = line_transitions(algorithm, np.zeros(256), 0.0, lambda action: -1.0, 0.0, terminated=False)
    np.testing.assert_allclose(values(algorithm, learned(algorithm, transitions), transitions), -4.0, atol=0.3)


@both
def test_a_reward_one_step_away_is_worth_the_discount(algorithm):
    """Position 0 leads to position 1 for nothing; there 1 is paid and the world ends.

    Without bootstrapping position 0 would be worth 0, without discounting 1, without an end position 1 would be worth more
    than 1. The answers: 3/4 and 1.
    """
    position = np.arange(256) % 2
    transitions = line_transitions(
        algorithm, position, 0.0, lambda action: position, next_position=1.0, terminated=position == 1
    )
    found = values(algorithm, learned(algorithm, transitions), transitions)
    np.testing.assert_allclose(found[position == 1], 1.0, atol=0.1)
    np.testing.assert_allclose(found[position == 0], 0.75, atol=0.1)


@both
def test_the_actor_finds_the_action_that_is_paid_for(algorithm):
    """At position +1 action +1 is paid, at -1 action -1: the zero residual earns 0, the wrong sign up to -1, the best 1."""
    position = np.where(np.arange(256) % 2 == 0, 1.0, -1.0)
    transitions = line_transitions(
        algorithm, position, 0.0, lambda action: position * action, next_position=0.0, terminated=True
    )
    earned = position * action(algorithm, learned(algorithm, transitions), transitions)
    assert earned.min() > 0.8


@both
@pytest.mark.parametrize("bias", [0.4, -0.4])
def test_the_scaled_residual_of_a_biased_base_is_minus_the_bias(algorithm, bias):
    """The right action is the position, the base is off by the bias: the base alone errs by 0.4 everywhere."""
    position = np.linspace(-0.5, 0.5, 256)
    transitions = line_transitions(
        algorithm, position, position + bias, lambda action: -((action - position) ** 2), position, terminated=True
    )
    scaled = action(algorithm, learned(algorithm, transitions), transitions) - (position + bias)
    np.testing.assert_allclose(scaled.mean(), -bias, atol=0.1)
    assert np.abs(scaled + bias).mean() < 0.15


def test_the_penalty_shortens_the_residual_by_the_amount_that_can_be_worked_out():
    """Of -(scale r + bias)^2 - penalty r^2 the maximum lies at r = -scale bias / (scale^2 + penalty): here at -0.16."""
    algorithm = SMALL["ddpg"]
    assert (algorithm.composition.scale, algorithm.residual_penalty) == (2.0, 1.0)
    position = np.linspace(-0.5, 0.5, 256)
    transitions = line_transitions(
        algorithm, position, position + 0.4, lambda action: -((action - position) ** 2), position, terminated=True
    )
    scaled = action(algorithm, learned(algorithm, transitions), transitions) - (position + 0.4)
    np.testing.assert_allclose(scaled.mean() / 2.0, -0.16, atol=0.02)


def nowhere(observation):
    return np.zeros((len(observation["observation"]), 2))


def astray(observation):
    """Sets out at a right angle to the way to the goal."""
    to_goal = observation["desired_goal"] - observation["achieved_goal"]
    return np.stack([-to_goal[:, 1], to_goal[:, 0]], axis=1).clip(-1.0, 1.0)


@pytest.mark.parametrize(("name", "controller"), [("ddpg", nowhere), ("gated-ddpg", astray)])
def test_a_goal_that_chance_never_finds_is_reached_with_hindsight_and_not_without(name, controller):
    """Random residuals reach the goal in one or two episodes of a hundred, neither controller ever."""
    plane, algorithm = Plane(), FREE[name]
    fresh = learning.init(algorithm, plane.spec, jax.random.key(0))
    assert plane.success_rate(algorithm, fresh, controller) == 0.0
    budget = {"episodes": 300, "updates": 1000, "batch_size": 128}
    blind = plane.learned(algorithm, controller, Hindsight(relabel_ratio=0.0), **budget)
    assert plane.success_rate(algorithm, blind, controller) <= 0.3
    seeing = plane.learned(algorithm, controller, Hindsight(relabel_ratio=0.8), **budget)
    assert plane.success_rate(algorithm, seeing, controller) >= 0.8
