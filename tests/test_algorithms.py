"""The rules of learning, as far as mathematics says what they must do. Whether they learn: test_probes.py."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probes import ROBOT, random_batch, random_observation, update_many, updated
from pydantic import ValidationError
from rules import BATCH, EVERYBODY, RULES, features_in_numpy, residual_of, target_in_numpy, used, values_in_numpy

from residual_rl.learning import algorithm as learning
from residual_rl.learning.actor_critic import Learner, bounded_value
from residual_rl.learning.gated_ddpg import GatedDDPG
from residual_rl.residual import Composition
from residual_rl.types import Spec

HORIZON_VALUE = 20.0  # 1 / (1 - discount)
BOTH = pytest.mark.parametrize("name", RULES)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def same(one, other):
    return all((first == second).all() for first, second in zip(leaves(one), leaves(other), strict=True))


def lifted(critics, amount):
    """The same critics, whose every value is higher by an amount."""
    return eqx.tree_at(lambda network: network.layers[-1].bias, critics, replace_fn=lambda bias: bias + amount)


@BOTH
def test_an_update_changes_its_inputs_in_nothing_and_repeats_itself(name):
    batch = random_batch(RULES[name], ROBOT, BATCH)
    before, batch_before = [leaf.copy() for leaf in leaves(used(name))], [leaf.copy() for leaf in jax.tree.leaves(batch)]
    first, metrics = updated(RULES[name], used(name), batch, ROBOT)
    second, metrics_again = updated(RULES[name], used(name), batch, ROBOT)
    for now, then in zip(leaves(used(name)), before, strict=True):
        np.testing.assert_array_equal(now, then)
    for now, then in zip(jax.tree.leaves(batch), batch_before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert same(first, second)
    assert metrics == metrics_again
    assert not same(first.actor, used(name).actor)


@BOTH
def test_the_same_seed_starts_the_same_and_another_otherwise(name):
    once, again, otherwise = (learning.init(RULES[name], ROBOT, jax.random.key(seed)) for seed in (4, 4, 5))
    assert same(once, again)
    assert not same(once.actor, otherwise.actor)
    assert not same(once.critics, otherwise.critics)


@BOTH
def test_a_fresh_learners_targets_are_its_networks(name):
    learner = learning.init(RULES[name], ROBOT, jax.random.key(0))
    assert same(learner.target_actor, learner.actor)
    assert same(learner.target_critics, learner.critics)
    assert int(learner.updates) == 0


@BOTH
def test_while_the_actor_is_frozen_the_critics_alone_learn(name):
    batch, learner = random_batch(RULES[name], ROBOT, BATCH), used(name)
    frozen, _ = updated(RULES[name], learner, batch, ROBOT, train_actor=False)
    free, _ = updated(RULES[name], learner, batch, ROBOT, train_actor=True)
    assert same(frozen.actor, learner.actor)
    assert not same(free.actor, learner.actor)
    assert not same(frozen.critics, learner.critics)
    for one, other in zip(leaves(frozen.critics), leaves(free.critics), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)  # two programs round differently; 1 % of a step of Adam


@BOTH
def test_a_fresh_learner_still_follows_the_base_after_a_burn_in(name):
    algorithm = RULES[name]
    learner = learning.init(algorithm, ROBOT, jax.random.key(0))
    for seed in range(5):
        learner, _ = updated(algorithm, learner, random_batch(algorithm, ROBOT, BATCH, seed), ROBOT, train_actor=False)
    batch = random_batch(algorithm, ROBOT, BATCH)
    np.testing.assert_array_equal(residual_of(name, learner, batch), np.zeros_like(batch.residual))


@BOTH
def test_targets_follow_at_their_rate(name):
    algorithm, learner = RULES[name], used(name)
    after, _ = updated(algorithm, learner, random_batch(algorithm, ROBOT, BATCH), ROBOT)
    for target, network in (("target_actor", "actor"), ("target_critics", "critics")):
        moved, before, towards = (leaves(getattr(*pair)) for pair in ((after, target), (learner, target), (after, network)))
        for new, old, goal in zip(moved, before, towards, strict=True):
            expected = (1 - algorithm.target_rate) * old + algorithm.target_rate * goal
            np.testing.assert_allclose(new, expected, rtol=1e-4, atol=1e-6)


def test_published_targets_follow_only_at_their_interval():
    algorithm = replace(RULES["ddpg"], target_interval=3)
    learner, moved = used("ddpg"), []
    for _ in range(6):
        after, _ = updated(algorithm, learner, random_batch(algorithm, ROBOT, BATCH), ROBOT)
        moved.append(not same(after.target_critics, learner.target_critics))
        assert same(after.target_actor, learner.target_actor) != moved[-1]
        learner = after
    assert moved == [False, False, True, False, False, True]


@BOTH
def test_the_critics_loss_is_the_squared_error_to_the_bootstrap_target(name):
    algorithm, learner, batch = RULES[name], used(name), random_batch(RULES[name], ROBOT, BATCH)
    scored = batch.residual if name == "ddpg" else batch.action
    values = values_in_numpy(learner.critics, features_in_numpy(name, learner, batch.observation), scored)
    expected = np.mean((values - target_in_numpy(name, learner, batch)) ** 2)
    _, metrics = updated(algorithm, learner, batch, ROBOT)
    np.testing.assert_allclose(float(metrics["critic_loss"]), expected, rtol=1e-3)


@BOTH
@pytest.mark.parametrize(("amount", "bound"), [(-1e3, -HORIZON_VALUE), (1e3, 0.0)])
def test_targets_stay_within_what_is_possible(name, amount, bound):
    """However wrong the target critics are: rewards of -1 are never worth less than -1 / (1 - discount), nor more than 0."""
    algorithm, batch = RULES[name], random_batch(RULES[name], ROBOT, BATCH)
    learner = used(name)._replace(target_critics=lifted(used(name).target_critics, amount))
    scored = batch.residual if name == "ddpg" else batch.action
    values = values_in_numpy(learner.critics, features_in_numpy(name, learner, batch.observation), scored)
    target = np.where(batch.terminated, batch.reward, bound)
    _, metrics = updated(algorithm, learner, batch, ROBOT)
    np.testing.assert_allclose(float(metrics["critic_loss"]), np.mean((values - target) ** 2), rtol=1e-3)


@BOTH
def test_the_discount_alone_decides_what_is_bootstrapped(name):
    algorithm, learner = RULES[name], used(name)
    batch = random_batch(algorithm, ROBOT, BATCH)
    elsewhere = batch._replace(next_observation=random_observation(np.random.default_rng(9), ROBOT, BATCH))

    def critics_after(batch, discount, **ends):
        discounts = np.full(BATCH, discount, np.float32)
        return updated(algorithm, learner, batch._replace(discount=discounts, **ends), ROBOT)[0].critics

    assert same(critics_after(batch, 0.0), critics_after(elsewhere, 0.0))
    assert not same(critics_after(batch, 0.9), critics_after(elsewhere, 0.9))
    assert same(critics_after(batch, 0.9), critics_after(batch, 0.9, terminated=EVERYBODY, truncated=EVERYBODY))


@BOTH
def test_what_is_not_scored_teaches_the_critics_nothing(name):
    """The published critic knows the residual alone; the default one the executed action alone."""
    algorithm, batch = RULES[name], random_batch(RULES[name], ROBOT, BATCH)
    unseen, seen = ("action", "residual") if name == "ddpg" else ("residual", "action")
    critics = updated(algorithm, used(name), batch, ROBOT)[0].critics
    for field, matters in ((unseen, False), (seen, True)):
        other = batch._replace(**{field: -getattr(batch, field)})
        assert same(updated(algorithm, used(name), other, ROBOT)[0].critics, critics) != matters


@BOTH
def test_updates_in_one_scan_are_updates_one_by_one(name):
    algorithm = RULES[name]
    batches = [random_batch(algorithm, ROBOT, BATCH, seed) for seed in range(4)]
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *batches)
    together, metrics = update_many(algorithm, used(name), stacked, ROBOT)
    learner, losses = used(name), []
    for batch in batches:
        learner, one = updated(algorithm, learner, batch, ROBOT)
        losses.append(float(one["critic_loss"]))
    assert int(together.updates) == int(learner.updates) == 4
    for one, other in zip(leaves(together), leaves(learner), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(float(metrics["critic_loss"]), np.mean(losses), rtol=1e-3)


@BOTH
def test_an_update_leaves_the_normalizer_alone_and_counting_in_everything_else(name):
    algorithm, learner, batch = RULES[name], used(name), random_batch(RULES[name], ROBOT, BATCH)
    assert same(updated(algorithm, learner, batch, ROBOT)[0].normalizer, learner.normalizer)
    counted = learning.count_in(algorithm, learner, batch)
    assert float(counted.normalizer.count) == float(learner.normalizer.count) + BATCH
    rest = [name for name in Learner._fields if name != "normalizer"]
    assert all(same(getattr(counted, field), getattr(learner, field)) for field in rest)


def test_an_update_by_hand():
    """Networks without hidden units and zero weights: value 0.5 everywhere, its target half as much, no residual.

    The goal is absent, the discount 1/2, the reward -1. Target critic: 0.25. Target: -1 + 1/2 * 0.25 = -0.875; where the
    world ended: -1. Error: (0.5 + 0.875)^2 = 1.890625, and (0.5 + 1)^2 = 2.25; loss: their mean.
    """
    spec = Spec(observation_size=1, goal_size=0, action_size=1, horizon=2, reward_range=(-1.0, 1.0))
    for algorithm in (replace(one, hidden=()) for one in RULES.values()):
        learner = learning.init(algorithm, spec, jax.random.key(0))
        zero = jax.tree.map(jnp.zeros_like, learner.critics)
        learner = learner._replace(critics=lifted(zero, 0.5), target_critics=lifted(zero, 0.25))
        batch = random_batch(algorithm, spec, 2)
        batch = batch._replace(reward=np.full(2, -1.0, np.float32), discount=np.array([0.5, 0.0], np.float32))
        after, metrics = updated(algorithm, learner, batch, spec)
        np.testing.assert_allclose(float(metrics["critic_loss"]), (1.890625 + 2.25) / 2, rtol=1e-6)
        # Adam's first step is its learning rate, down the gradient: the value falls.
        rate = getattr(algorithm, "critic_rate", None) or algorithm.learning_rate
        np.testing.assert_allclose(after.critics.layers[-1].bias, 0.5 - rate, rtol=1e-5)
        # No gradient, no residual.
        residual = residual_of(algorithm.name, after, batch, algorithm=algorithm)
        np.testing.assert_array_equal(residual, np.zeros((2, 1)))


# ---- what is possible ----


@given(
    st.floats(-10, 10),
    st.floats(0, 10),
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.integers(1, 50),
)
def test_no_value_that_is_possible_is_clipped(low, width, shares, horizon):
    """An episode's rewards, discounted, whenever it ends."""
    spec = Spec(1, 0, 1, horizon, reward_range=(low, low + width))
    rewards = low + width * np.array(shares)
    value = (rewards * spec.discount ** np.arange(len(rewards))).sum()
    np.testing.assert_allclose(bounded_value(spec, np.asarray(value)), value, rtol=1e-9, atol=1e-9)


def test_without_a_known_reward_range_nothing_is_clipped():
    values = np.array([-1e30, 0.0, 1e30])
    np.testing.assert_array_equal(bounded_value(Spec(1, 0, 1, 10), values), values)


@pytest.mark.parametrize(("horizon", "expected"), [(50, 0.98), (100, 0.99), (150, 1 - 1 / 150), (1, 0.0)])
def test_the_discount_is_that_of_the_horizon(horizon, expected):
    assert Spec(1, 0, 1, horizon).discount == pytest.approx(expected)


# ---- what the networks see ----


@BOTH
def test_the_base_action_is_seen_only_where_the_composition_says_so(name):
    blind = RULES[name]
    seeing = replace(blind, composition=Composition(actor_sees_base=True))
    batch = random_batch(blind, ROBOT, BATCH)
    other = -batch.base_action
    one, changed = (np.asarray(blind.features(batch.observation, base)) for base in (batch.base_action, other))
    np.testing.assert_array_equal(one, changed)
    one, changed = (np.asarray(seeing.features(batch.observation, base)) for base in (batch.base_action, other))
    np.testing.assert_array_equal(one[:, -ROBOT.action_size :], batch.base_action)
    np.testing.assert_array_equal(changed[:, -ROBOT.action_size :], other)
    learner = jax.eval_shape(lambda: seeing.init(ROBOT, jax.random.key(0)).normalizer)
    assert learner.mean.shape == (one.shape[1],)


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden": (64,) * 17},
        {"hidden": (64, 0)},
        {"num_critics": 65},
        {"actors": ({"cautions": (1e7,)},)},
        {"actors": ({"cautions": ()},)},
        {"actors": ()},
        {"actors": ({"cautions": (3.0, -1.0)},)},
        {"actors": ({"rate": 0.0},)},
    ],
)
def test_what_no_bundle_could_hold_is_refused_before_it_is_trained(fields):
    with pytest.raises(ValidationError, match=next(iter(fields))):
        GatedDDPG(**fields)


@pytest.mark.parametrize("field", ["target_rate", "critic_rate", "random_ratio", "noise_ratio", "num_critics", "pessimism"])
def test_a_hyperparameter_out_of_range_is_refused_by_name(field):
    with pytest.raises(ValidationError, match=field):
        GatedDDPG(**{field: -1.0})


@pytest.mark.parametrize("field", ["target_rate", "learning_rate", "target_interval", "residual_penalty", "noise"])
def test_a_published_hyperparameter_out_of_range_is_refused_by_name(field):
    with pytest.raises(ValidationError, match=field):
        replace(RULES["ddpg"], **{field: -1})
