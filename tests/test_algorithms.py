"""The rules of learning, as far as mathematics says what they must do. Whether they learn: test_probes.py."""

from dataclasses import replace

import equinox as eqx
import hypothesis.extra.numpy as arrays
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probes import ROBOT, SMALL, random_batch, random_observation, updated, used_learner
from pydantic import ValidationError

from residual_rl.learning import algorithm as learning
from residual_rl.learning.algorithm import Learner, bounded_value
from residual_rl.learning.bandit import Scores
from residual_rl.learning.gated_ddpg import GatedDDPG
from residual_rl.residual import Composition
from residual_rl.types import Spec

BATCH = 48
SCORES = Scores(base=(1.0,) * 20, residual=(0.0,) * 20)
"""The base succeeds, the residual fails."""
HORIZON_VALUE = 20.0  # 1 / (1 - discount)
# Of critics that know nothing few agree: with so little caution the gate is open in some rows, in others not.
RULES = SMALL | {"gated-ddpg": replace(SMALL["gated-ddpg"], caution=0.3)}
BOTH = pytest.mark.parametrize("name", RULES)
GATED = RULES["gated-ddpg"]
EVERYBODY, NOBODY = np.ones(BATCH, dtype=bool), np.zeros(BATCH, dtype=bool)


@pytest.fixture(scope="module")
def used():
    """A learner of each kind whose networks are no longer what they were at the start."""
    return {name: used_learner(algorithm, ROBOT) for name, algorithm in RULES.items()}


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def same(one, other):
    return all((first == second).all() for first, second in zip(leaves(one), leaves(other), strict=True))


def residual_of(name, learner, batch, key=0, explore=NOBODY, driven=EVERYBODY, algorithm=None):
    algorithm = algorithm or RULES[name]
    key, rows = jax.random.key(key), len(batch.reward)
    roles = learning.Roles(explore[:rows], driven[:rows])
    return np.asarray(learning.act(algorithm, learner.current, batch.observation, batch.base_action, key, roles))


def lifted(critics, amount):
    """The same critics, whose every value is higher by an amount."""
    return eqx.tree_at(lambda network: network.layers[-1].bias, critics, replace_fn=lambda bias: bias + amount)


# ---- the same, written in NumPy ----


def network_in_numpy(network, x, member=()):
    for index, layer in enumerate(network.layers):
        x = x @ np.asarray(layer.weight, np.float64)[member].T + np.asarray(layer.bias, np.float64)[member]
        if index == len(network.layers) - 1:
            return x
        if network.norms:
            layer_norm = network.norms[index]
            x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + layer_norm.eps)
            x = x * np.asarray(layer_norm.weight)[member] + np.asarray(layer_norm.bias)[member]
        x = np.maximum(x, 0.0)
    raise AssertionError("a network without layers")


def values_in_numpy(critics, features, scored):
    inputs = np.concatenate([features, scored], axis=1)
    members = len(critics.layers[0].weight)
    return np.stack([network_in_numpy(critics, inputs, member)[:, 0] for member in range(members)])


def features_in_numpy(name, learner, observation):
    parts = [observation["observation"], observation["desired_goal"]]
    if name == "gated-ddpg":
        parts.append(observation["desired_goal"] - observation["achieved_goal"])
    features = np.concatenate(parts, axis=1).clip(-200, 200)
    deviation = np.sqrt(np.maximum(np.asarray(learner.normalizer.squares) / float(learner.normalizer.count), 1e-4))
    return ((features - np.asarray(learner.normalizer.mean)) / deviation).clip(-5, 5)


def target_in_numpy(name, learner, batch):
    """`[B]` the bootstrap target of either rule, for `ROBOT`'s discount of 19/20 and rewards in [-1, 0]."""
    algorithm = RULES[name]
    features = features_in_numpy(name, learner, batch.next_observation)
    residual = np.tanh(network_in_numpy(learner.target_actor, features))
    base_action, scale = batch.next_base_action, algorithm.composition.scale
    if name == "ddpg":  # scores the residual, and has one critic
        next_value = values_in_numpy(learner.target_critics, features, residual)[0]
    else:  # scores the action, and lets the residual act where the critics agree
        acting = values_in_numpy(learner.target_critics, features, (base_action + scale * residual).clip(-1, 1))
        alone = values_in_numpy(learner.target_critics, features, base_action)
        advantage = acting - alone
        is_open = advantage.mean(axis=0) > algorithm.caution * advantage.std(axis=0)
        assert is_open.any()
        assert not is_open.all()
        chosen = np.where(is_open, acting, alone)
        next_value = chosen.mean(axis=0) - algorithm.pessimism * chosen.std(axis=0)
    return (batch.reward + batch.discount * next_value).clip(-20.0, 0.0)


# ---- acting ----


@BOTH
def test_the_same_key_acts_the_same_and_another_otherwise(name, used):
    batch = random_batch(RULES[name], ROBOT, BATCH)
    once, again, otherwise = (residual_of(name, used[name], batch, key, EVERYBODY) for key in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert (once != otherwise).any()


@BOTH
def test_rows_that_do_not_explore_are_exactly_the_greedy_ones(name, used):
    batch = random_batch(RULES[name], ROBOT, BATCH)
    greedy = residual_of(name, used[name], batch)
    half = np.arange(BATCH) % 2 == 0
    mixed = residual_of(name, used[name], batch, 5, half)
    np.testing.assert_array_equal(mixed[~half], greedy[~half])
    assert (mixed[half] != greedy[half]).any()


@BOTH
def test_without_exploration_the_key_does_not_matter(name, used):
    batch = random_batch(RULES[name], ROBOT, BATCH)
    np.testing.assert_array_equal(residual_of(name, used[name], batch, 1), residual_of(name, used[name], batch, 2))


@BOTH
def test_residuals_are_bounded_also_when_exploring(name, used):
    batch = random_batch(RULES[name], ROBOT, BATCH)
    for key in range(20):
        assert np.abs(residual_of(name, used[name], batch, key, EVERYBODY)).max() <= 1.0


@BOTH
def test_a_row_of_a_batch_acts_as_it_would_alone(name, used):
    batch = random_batch(RULES[name], ROBOT, BATCH)
    together = residual_of(name, used[name], batch)
    backwards = residual_of(name, used[name], jax.tree.map(lambda leaf: leaf[::-1], batch))
    np.testing.assert_allclose(backwards[::-1], together, atol=1e-6)


def test_ddpg_acts_by_its_actor(used):
    batch, learner = random_batch(RULES["ddpg"], ROBOT, BATCH), used["ddpg"]
    expected = np.tanh(network_in_numpy(learner.actor, features_in_numpy("ddpg", learner, batch.observation)))
    np.testing.assert_allclose(residual_of("ddpg", learner, batch), expected, atol=1e-5)


def test_ddpg_explores_in_all_lanes_or_while_frozen_by_the_toss_of_a_coin():
    rng, algorithm = np.random.default_rng(0), RULES["ddpg"]
    assert all(algorithm.roles(rng, 8, False, Scores()).explore.all() for _ in range(20))
    tossed = [algorithm.roles(rng, 8, True, Scores()).explore for _ in range(200)]
    assert {tuple(lanes) for lanes in tossed} == {(True,) * 8, (False,) * 8}
    assert 0.3 < np.mean(tossed) < 0.7


@BOTH
@pytest.mark.parametrize("burn_in", [False, True])
def test_roles_are_masks_decided_by_the_generator(name, burn_in):
    one, other = (RULES[name].roles(np.random.default_rng(7), 8, burn_in, SCORES) for _ in range(2))
    for mask, again in zip(one, other, strict=True):
        assert (mask.shape, mask.dtype) == ((8,), bool)
        np.testing.assert_array_equal(mask, again)


def test_the_default_leaves_most_lanes_undisturbed_and_failing_residuals_few():
    algorithm, rng = RULES["gated-ddpg"], np.random.default_rng(0)
    while_frozen, later = (algorithm.roles(rng, 8, burn_in, SCORES) for burn_in in (True, False))
    assert while_frozen.explore.sum() == later.explore.sum() == 2
    assert while_frozen.driven.all()
    assert later.driven.sum() == 2


def test_rows_that_the_base_drives_have_no_residual_but_noise(used):
    batch = random_batch(RULES["gated-ddpg"], ROBOT, BATCH)
    half = np.arange(BATCH) % 2 == 0
    alone = residual_of("gated-ddpg", used["gated-ddpg"], batch, driven=half)
    np.testing.assert_array_equal(alone[half], residual_of("gated-ddpg", used["gated-ddpg"], batch)[half])
    np.testing.assert_array_equal(alone[~half], 0.0)
    disturbed = residual_of("gated-ddpg", used["gated-ddpg"], batch, 3, EVERYBODY, driven=NOBODY)
    assert 0 < (disturbed != 0).any(axis=1).mean() < 0.5


# ---- the gate ----

members = arrays.arrays(np.float64, (5, 6), elements=st.integers(-100, 100).map(float))


@given(residual_values=members, base_values=members, caution=st.sampled_from([0.0, 0.5, 1.0, 3.0]))
def test_the_gate_is_open_exactly_where_the_members_agree_on_an_advantage(residual_values, base_values, caution):
    advantage = residual_values - base_values
    expected = [np.mean(column) > caution * np.std(column) for column in advantage.T]
    np.testing.assert_array_equal(replace(GATED, caution=caution).gate(residual_values, base_values), expected)


errors = arrays.arrays(np.float64, 5, elements=st.integers(-64, 64).map(float))


@given(residual_values=members, base_values=members, error=errors)
def test_the_gate_ignores_what_a_member_gets_wrong_about_both(residual_values, base_values, error):
    clean = GATED.gate(residual_values, base_values)
    np.testing.assert_array_equal(GATED.gate(residual_values + error[:, None], base_values + error[:, None]), clean)


@given(values=members)
def test_the_gate_is_shut_where_the_residual_is_worth_what_the_base_is(values):
    assert not GATED.gate(values, values).any()


def test_without_caution_there_is_no_gate():
    values = np.zeros((GATED.num_critics, 4))
    assert replace(GATED, caution=None).gate(values, values + 1.0).all()


@given(residual_values=members, base_values=members)
def test_the_gate_never_opens_both_ways_and_only_wider_with_less_caution(residual_values, base_values):
    assert not (GATED.gate(residual_values, base_values) & GATED.gate(base_values, residual_values)).any()
    careful, careless = (replace(GATED, caution=caution).gate(residual_values, base_values) for caution in (3.0, 1.0))
    assert (careless | ~careful).all()


def test_the_gate_by_hand():
    # Advantages 1, 2, 3 have mean 2 and deviation sqrt(2/3) = 0.816: 2.45 deviations.
    base_values, residual_values = np.array([[5.0], [-7.0], [0.0]]), np.array([[6.0], [-5.0], [3.0]])
    assert replace(GATED, caution=2.4).gate(residual_values, base_values).item()
    assert not replace(GATED, caution=2.5).gate(residual_values, base_values).item()


def test_where_the_gate_is_shut_the_residual_is_exactly_zero_and_the_base_acts_exactly(used):
    batch, learner = random_batch(GATED, ROBOT, BATCH), used["gated-ddpg"]
    features = features_in_numpy("gated-ddpg", learner, batch.observation)
    residual = np.tanh(network_in_numpy(learner.actor, features))
    acting = values_in_numpy(learner.critics, features, (batch.base_action + residual).clip(-1, 1))
    advantage = acting - values_in_numpy(learner.critics, features, batch.base_action)
    is_open = advantage.mean(axis=0) > GATED.caution * advantage.std(axis=0)
    assert is_open.any()
    assert not is_open.all()
    acted = residual_of("gated-ddpg", learner, batch)
    np.testing.assert_allclose(acted[is_open], residual[is_open], atol=1e-5)
    np.testing.assert_array_equal(acted[~is_open], np.zeros_like(acted[~is_open]))
    action = GATED.composition.action(batch.base_action, acted)
    np.testing.assert_array_equal(action[~is_open], batch.base_action[~is_open])


def test_where_the_residual_would_change_nothing_the_gate_is_shut(used):
    """A base at its bound, and a residual that points outwards: what acts is the base, and so is said to be."""
    batch, learner = random_batch(GATED, ROBOT, BATCH), used["gated-ddpg"]
    outwards = eqx.tree_at(lambda actor: actor.layers[-1].bias, learner.actor, jnp.full(ROBOT.action_size, 50.0))
    batch = batch._replace(base_action=np.ones_like(batch.base_action))
    acted = residual_of("gated-ddpg", learner._replace(actor=outwards), batch)
    np.testing.assert_array_equal(acted, np.zeros_like(acted))


def test_a_single_critic_cannot_agree_with_others():
    with pytest.raises(ValidationError, match="num_critics"):
        GatedDDPG(num_critics=1)


# ---- learning ----


@BOTH
def test_an_update_changes_its_inputs_in_nothing_and_repeats_itself(name, used):
    batch = random_batch(RULES[name], ROBOT, BATCH)
    before, batch_before = [leaf.copy() for leaf in leaves(used[name])], [leaf.copy() for leaf in jax.tree.leaves(batch)]
    first, metrics = updated(RULES[name], used[name], batch, ROBOT)
    second, metrics_again = updated(RULES[name], used[name], batch, ROBOT)
    for now, then in zip(leaves(used[name]), before, strict=True):
        np.testing.assert_array_equal(now, then)
    for now, then in zip(jax.tree.leaves(batch), batch_before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert same(first, second)
    assert metrics == metrics_again
    assert not same(first.actor, used[name].actor)


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
def test_while_the_actor_is_frozen_the_critics_alone_learn(name, used):
    batch, learner = random_batch(RULES[name], ROBOT, BATCH), used[name]
    frozen, _ = updated(RULES[name], learner, batch, ROBOT, train_actor=False)
    free, _ = updated(RULES[name], learner, batch, ROBOT, train_actor=True)
    assert same(frozen.actor, learner.actor)
    assert not same(free.actor, learner.actor)
    assert not same(frozen.critics, learner.critics)
    for one, other in zip(leaves(frozen.critics), leaves(free.critics), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@BOTH
def test_a_fresh_learner_still_follows_the_base_after_a_burn_in(name):
    algorithm = RULES[name]
    learner = learning.init(algorithm, ROBOT, jax.random.key(0))
    for seed in range(5):
        learner, _ = updated(algorithm, learner, random_batch(algorithm, ROBOT, BATCH, seed), ROBOT, train_actor=False)
    batch = random_batch(algorithm, ROBOT, BATCH)
    np.testing.assert_array_equal(residual_of(name, learner, batch), np.zeros_like(batch.residual))


@BOTH
def test_targets_follow_at_their_rate(name, used):
    algorithm, learner = RULES[name], used[name]
    after, _ = updated(algorithm, learner, random_batch(algorithm, ROBOT, BATCH), ROBOT)
    for target, network in (("target_actor", "actor"), ("target_critics", "critics")):
        moved, before, towards = (leaves(getattr(*pair)) for pair in ((after, target), (learner, target), (after, network)))
        for new, old, goal in zip(moved, before, towards, strict=True):
            expected = (1 - algorithm.target_rate) * old + algorithm.target_rate * goal
            np.testing.assert_allclose(new, expected, rtol=1e-4, atol=1e-6)


def test_published_targets_follow_only_at_their_interval(used):
    algorithm = replace(RULES["ddpg"], target_interval=3)
    learner, moved = used["ddpg"], []
    for _ in range(6):
        after, _ = updated(algorithm, learner, random_batch(algorithm, ROBOT, BATCH), ROBOT)
        moved.append(not same(after.target_critics, learner.target_critics))
        assert same(after.target_actor, learner.target_actor) != moved[-1]
        learner = after
    assert moved == [False, False, True, False, False, True]


@BOTH
def test_the_critics_loss_is_the_squared_error_to_the_bootstrap_target(name, used):
    algorithm, learner, batch = RULES[name], used[name], random_batch(RULES[name], ROBOT, BATCH)
    scored = batch.residual if name == "ddpg" else batch.action
    values = values_in_numpy(learner.critics, features_in_numpy(name, learner, batch.observation), scored)
    expected = np.mean((values - target_in_numpy(name, learner, batch)) ** 2)
    _, metrics = updated(algorithm, learner, batch, ROBOT)
    np.testing.assert_allclose(float(metrics["critic_loss"]), expected, rtol=1e-3)


@BOTH
@pytest.mark.parametrize(("amount", "bound"), [(-1e3, -HORIZON_VALUE), (1e3, 0.0)])
def test_targets_stay_within_what_is_possible(name, amount, bound, used):
    """However wrong the target critics are: rewards of -1 are never worth less than -1 / (1 - discount), nor more than 0."""
    algorithm, batch = RULES[name], random_batch(RULES[name], ROBOT, BATCH)
    learner = used[name]._replace(target_critics=lifted(used[name].target_critics, amount))
    scored = batch.residual if name == "ddpg" else batch.action
    values = values_in_numpy(learner.critics, features_in_numpy(name, learner, batch.observation), scored)
    target = np.where(batch.terminated, batch.reward, bound)
    _, metrics = updated(algorithm, learner, batch, ROBOT)
    np.testing.assert_allclose(float(metrics["critic_loss"]), np.mean((values - target) ** 2), rtol=1e-3)


@BOTH
def test_the_discount_alone_decides_what_is_bootstrapped(name, used):
    algorithm, learner = RULES[name], used[name]
    batch = random_batch(algorithm, ROBOT, BATCH)
    elsewhere = batch._replace(next_observation=random_observation(np.random.default_rng(9), ROBOT, BATCH))

    def critics_after(batch, discount, **ends):
        discounts = np.full(BATCH, discount, np.float32)
        return updated(algorithm, learner, batch._replace(discount=discounts, **ends), ROBOT)[0].critics

    assert same(critics_after(batch, 0.0), critics_after(elsewhere, 0.0))
    assert not same(critics_after(batch, 0.9), critics_after(elsewhere, 0.9))
    assert same(critics_after(batch, 0.9), critics_after(batch, 0.9, terminated=EVERYBODY, truncated=EVERYBODY))


@BOTH
def test_what_is_not_scored_teaches_the_critics_nothing(name, used):
    """The published critic knows the residual alone; the default one the executed action alone."""
    algorithm, batch = RULES[name], random_batch(RULES[name], ROBOT, BATCH)
    unseen, seen = ("action", "residual") if name == "ddpg" else ("residual", "action")
    critics = updated(algorithm, used[name], batch, ROBOT)[0].critics
    for field, matters in ((unseen, False), (seen, True)):
        other = batch._replace(**{field: -getattr(batch, field)})
        assert same(updated(algorithm, used[name], other, ROBOT)[0].critics, critics) != matters


@BOTH
def test_updates_in_one_scan_are_updates_one_by_one(name, used):
    algorithm = RULES[name]
    batches = [random_batch(algorithm, ROBOT, BATCH, seed) for seed in range(4)]
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *batches)
    together, metrics = learning.update_many(algorithm, used[name], stacked, ROBOT, True)
    learner, losses = used[name], []
    for batch in batches:
        learner, one = updated(algorithm, learner, batch, ROBOT)
        losses.append(float(one["critic_loss"]))
    assert int(together.updates) == int(learner.updates) == 4
    for one, other in zip(leaves(together), leaves(learner), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(float(metrics["critic_loss"]), np.mean(losses), rtol=1e-3)


@BOTH
def test_an_update_leaves_the_normalizer_alone_and_counting_in_everything_else(name, used):
    algorithm, learner, batch = RULES[name], used[name], random_batch(RULES[name], ROBOT, BATCH)
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


@BOTH
def test_acting_mixes_no_dtypes_silently(name, used):
    """Adam itself does; what acts on the robot need not."""
    networks, batch = used[name].current, jax.tree.map(jnp.asarray, random_batch(RULES[name], ROBOT, BATCH))

    roles = learning.Roles(jnp.asarray(EVERYBODY), jnp.asarray(EVERYBODY))

    def act():
        return RULES[name].act(networks, batch.observation, batch.base_action, jax.random.key(0), roles)

    with jax.numpy_dtype_promotion("strict"):
        residual = jax.eval_shape(act)
    assert (residual.shape, residual.dtype) == ((BATCH, ROBOT.action_size), jnp.float32)


@pytest.mark.parametrize(
    "fields", [{"hidden": (64,) * 17}, {"hidden": (64, 0)}, {"num_critics": 65}, {"caution": 1e7}, {"actor_rate": np.inf}]
)
def test_what_no_bundle_could_hold_is_refused_before_it_is_trained(fields):
    with pytest.raises(ValidationError, match=next(iter(fields))):
        GatedDDPG(**fields)


@pytest.mark.parametrize(
    "field", ["target_rate", "critic_rate", "actor_rate", "random_ratio", "noise_ratio", "caution", "pessimism"]
)
def test_a_hyperparameter_out_of_range_is_refused_by_name(field):
    with pytest.raises(ValidationError, match=field):
        GatedDDPG(**{field: -1.0})


@pytest.mark.parametrize("field", ["target_rate", "learning_rate", "target_interval", "residual_penalty", "noise"])
def test_a_published_hyperparameter_out_of_range_is_refused_by_name(field):
    with pytest.raises(ValidationError, match=field):
        replace(RULES["ddpg"], **{field: -1})
