"""How a learner acts: by its actor, where the gate lets it, and by chance where it explores."""

from dataclasses import replace

import equinox as eqx
import hypothesis.extra.numpy as arrays
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probes import ROBOT, acted, random_batch, used_learner
from pydantic import ValidationError
from rules import (
    BASE,
    BATCH,
    EVERYBODY,
    GATED,
    RULES,
    SECOND,
    actor_in_numpy,
    features_in_numpy,
    network_in_numpy,
    residual_of,
    used,
    values_in_numpy,
)

from residual_rl.learning.actors import Actor
from residual_rl.learning.exploration import Roles, greedy
from residual_rl.learning.gated_ddpg import GatedDDPG

BOTH = pytest.mark.parametrize("name", RULES)
SCORES = ((1.0,) * 20, (0.0,) * 20, (0.0,) * 20)
"""The base succeeds, the residual fails with either caution."""


@BOTH
def test_the_same_key_acts_the_same_and_another_otherwise(name):
    batch = random_batch(RULES[name], ROBOT, BATCH)
    once, again, otherwise = (residual_of(name, used(name), batch, key, EVERYBODY) for key in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert (once != otherwise).any()


@BOTH
def test_rows_that_do_not_explore_are_exactly_the_greedy_ones(name):
    batch = random_batch(RULES[name], ROBOT, BATCH)
    greedy = residual_of(name, used(name), batch)
    half = np.arange(BATCH) % 2 == 0
    mixed = residual_of(name, used(name), batch, 5, half)
    np.testing.assert_array_equal(mixed[~half], greedy[~half])
    assert (mixed[half] != greedy[half]).any()


@BOTH
def test_without_exploration_the_key_does_not_matter(name):
    batch = random_batch(RULES[name], ROBOT, BATCH)
    np.testing.assert_array_equal(residual_of(name, used(name), batch, 1), residual_of(name, used(name), batch, 2))


@BOTH
def test_residuals_are_bounded_also_when_exploring(name):
    batch = random_batch(RULES[name], ROBOT, BATCH)
    for key in range(20):
        assert np.abs(residual_of(name, used(name), batch, key, EVERYBODY)).max() <= 1.0


@BOTH
def test_a_row_of_a_batch_acts_as_it_would_alone(name):
    batch = random_batch(RULES[name], ROBOT, BATCH)
    together = residual_of(name, used(name), batch)
    backwards = residual_of(name, used(name), jax.tree.map(lambda leaf: leaf[::-1], batch))
    # A processor may add the terms of different rows in different orders: up to 1e-6 for float32 sums of this length.
    np.testing.assert_allclose(backwards[::-1], together, atol=1e-5)


def test_ddpg_acts_by_its_actor():
    batch, learner = random_batch(RULES["ddpg"], ROBOT, BATCH), used("ddpg")
    expected = np.tanh(network_in_numpy(learner.actor, features_in_numpy("ddpg", learner, batch.observation)))
    np.testing.assert_allclose(residual_of("ddpg", learner, batch), expected, atol=1e-5)


def test_ddpg_explores_in_all_lanes_or_while_frozen_by_the_toss_of_a_coin():
    rng, algorithm = np.random.default_rng(0), RULES["ddpg"]
    assert all(algorithm.exploration.roles(rng, 8, False, ()).explore.all() for _ in range(20))
    tossed = [algorithm.exploration.roles(rng, 8, True, ()).explore for _ in range(200)]
    assert {tuple(lanes) for lanes in tossed} == {(True,) * 8, (False,) * 8}
    assert 0.3 < np.mean(tossed) < 0.7


@BOTH
@pytest.mark.parametrize("burn_in", [False, True])
def test_roles_are_decided_by_the_generator(name, burn_in):
    one, other = (RULES[name].exploration.roles(np.random.default_rng(7), 8, burn_in, SCORES) for _ in range(2))
    for dtype, each, again in zip((bool, np.int32), one, other, strict=True):
        assert (each.shape, each.dtype) == ((8,), dtype)
        np.testing.assert_array_equal(each, again)


def test_the_default_leaves_most_lanes_undisturbed_and_failing_residuals_few():
    algorithm, rng = RULES["gated-ddpg"], np.random.default_rng(0)
    while_frozen = algorithm.exploration.roles(rng, 8, True, SCORES)
    assert while_frozen.explore.sum() == 2
    assert (while_frozen.arm == 1).all()
    later = [algorithm.exploration.roles(rng, 8, False, SCORES) for _ in range(200)]
    assert all((roles.arm > 0).sum() == 2 for roles in later)
    assert {int(arm) for roles in later for arm in roles.arm} == {0, 1, 2}
    assert all(roles.arm[roles.explore].tolist() in ([1], [2]) for roles in later)


@pytest.mark.parametrize(("num_envs", "ratio", "succeeds", "exploring"), [
    (16, 0.25, False, 2),  # half of the four that it drives
    (16, 0.25, True, 4),
    (16, 1.0, True, 7.5),  # half of fifteen
    (16, 0.0, True, 0),
    (1, 0.25, True, 0.25),
    (1, 1.0, True, 0.5),
])  # fmt: skip
def test_as_many_explore_as_asked_but_at_most_half_of_those_that_the_residual_drives(num_envs, ratio, succeeds, exploring):
    algorithm, rng = replace(RULES["gated-ddpg"], exploring_ratio=ratio), np.random.default_rng(0)
    scores = ((0.0,) * 20, (1.0,) * 20, (1.0,) * 20) if succeeds else SCORES
    roles = [algorithm.exploration.roles(rng, num_envs, False, scores) for _ in range(600)]
    assert np.mean([each.explore.sum() for each in roles]) == pytest.approx(exploring, abs=0.06)
    assert not any((each.explore & (each.arm == 0)).any() for each in roles)


def test_rows_that_the_base_drives_have_no_residual_but_noise():
    batch = random_batch(RULES["gated-ddpg"], ROBOT, BATCH)
    half = np.arange(BATCH) % 2 == 0
    alone = residual_of("gated-ddpg", used("gated-ddpg"), batch, arm=half.astype(int))
    np.testing.assert_array_equal(alone[half], residual_of("gated-ddpg", used("gated-ddpg"), batch)[half])
    np.testing.assert_array_equal(alone[~half], 0.0)
    disturbed = residual_of("gated-ddpg", used("gated-ddpg"), batch, 3, EVERYBODY, BASE)
    assert 0 < (disturbed != 0).any(axis=1).mean() < 0.5


@BOTH
def test_acting_mixes_no_dtypes_silently(name):
    """Adam itself does; what acts on the robot need not."""
    networks, batch = used(name).current, jax.tree.map(jnp.asarray, random_batch(RULES[name], ROBOT, BATCH))

    roles = Roles(jnp.asarray(EVERYBODY), jnp.asarray(SECOND, jnp.int32))

    def act():
        key, settings = jax.random.key(0), jax.tree.map(jnp.asarray, RULES[name].settings())
        return RULES[name].act(networks, batch.observation, batch.base_action, key, roles, settings).residual

    with jax.numpy_dtype_promotion("strict"):
        residual = jax.eval_shape(act)
    assert (residual.shape, residual.dtype) == ((BATCH, ROBOT.action_size), jnp.float32)


# ---- the gate ----

members = arrays.arrays(np.float64, (5, 6), elements=st.integers(-100, 100).map(float))


@given(residual_values=members, base_values=members, caution=st.sampled_from([0.0, 0.5, 1.0, 3.0]))
def test_the_gate_is_open_exactly_where_the_members_agree_on_an_advantage(residual_values, base_values, caution):
    advantage = residual_values - base_values
    expected = [np.mean(column) > caution * np.std(column) for column in advantage.T]
    np.testing.assert_array_equal(GATED.gate(residual_values, base_values, caution), expected)


errors = arrays.arrays(np.float64, 5, elements=st.integers(-64, 64).map(float))


@given(residual_values=members, base_values=members, error=errors)
def test_the_gate_ignores_what_a_member_gets_wrong_about_both(residual_values, base_values, error):
    clean = GATED.gate(residual_values, base_values, 1.0)
    np.testing.assert_array_equal(GATED.gate(residual_values + error[:, None], base_values + error[:, None], 1.0), clean)


@given(values=members)
def test_the_gate_is_shut_where_the_residual_is_worth_what_the_base_is(values):
    assert not GATED.gate(values, values, 0.0).any()


def test_without_caution_there_is_no_gate():
    values = np.zeros((GATED.num_critics, 4))
    caution = replace(GATED, actors=(Actor(cautions=(None,)),)).settings()["cautions"][0]
    assert GATED.gate(jnp.asarray(values), jnp.asarray(values + 1.0), caution).all()


@given(residual_values=members, base_values=members)
def test_the_gate_never_opens_both_ways_and_only_wider_with_less_caution(residual_values, base_values):
    assert not (GATED.gate(residual_values, base_values, 0.0) & GATED.gate(base_values, residual_values, 0.0)).any()
    careful, careless = (GATED.gate(residual_values, base_values, caution) for caution in (3.0, 1.0))
    assert (careless | ~careful).all()


def test_the_gate_by_hand():
    # Advantages 1, 2, 3 have mean 2 and deviation sqrt(2/3) = 0.816: 2.45 deviations.
    base_values, residual_values = np.array([[5.0], [-7.0], [0.0]]), np.array([[6.0], [-5.0], [3.0]])
    assert GATED.gate(residual_values, base_values, 2.4).item()
    assert not GATED.gate(residual_values, base_values, 2.5).item()


def test_rows_of_the_base_have_no_residual_and_every_row_has_the_actor_and_the_caution_of_its_own_arm():
    several = replace(GATED, actors=(Actor(cautions=(0.3, 0.0)), Actor(cautions=(None,))))
    batch, learner = random_batch(several, ROBOT, BATCH), used_learner(several, ROBOT)
    arm = np.arange(BATCH) % 4
    mixed = residual_of("gated-ddpg", learner, batch, arm=arm, algorithm=several)
    np.testing.assert_array_equal(mixed[arm == 0], 0.0)
    of_arms = [residual_of("gated-ddpg", learner, batch, arm=np.full(BATCH, k), algorithm=several) for k in (1, 2, 3)]
    for number, alone in enumerate(of_arms, 1):
        np.testing.assert_array_equal(mixed[arm == number], alone[arm == number])
    assert not np.array_equal(of_arms[0], of_arms[1])
    features = features_in_numpy("gated-ddpg", learner, batch.observation)
    np.testing.assert_allclose(of_arms[2], np.tanh(network_in_numpy(learner.actor, features, 1)), atol=1e-5)


def test_what_is_delivered_is_the_arm_that_exceeded_the_base_lately_and_acts_like_it():
    several = replace(GATED, actors=(Actor(cautions=(0.3, 0.0)), Actor(cautions=(0.1,))))
    batch, learner = random_batch(several, ROBOT, BATCH), used_learner(several, ROBOT)
    for best, caution in ((1, 0.3), (2, 0.0), (3, 0.1)):
        scores = tuple((float(arm == best),) * 20 for arm in range(4))
        rule, networks = several.delivered(learner.current, scores)
        assert [actor.cautions for actor in rule.actors] == [(caution,)]
        key, roles = jax.random.key(0), greedy(BATCH)
        residual = acted(rule, networks, batch.observation, batch.base_action, key, roles)
        expected = residual_of("gated-ddpg", learner, batch, arm=np.full(BATCH, best), algorithm=several)
        np.testing.assert_allclose(residual, expected, atol=1e-6)
        assert several.informed(learner, scores).leader == (best == 3)
    rule, _ = several.delivered(learner.current, several.exploration.after((), []))
    assert rule.caution == several.caution


def test_where_the_gate_is_shut_the_residual_is_exactly_zero_and_the_base_acts_exactly():
    batch, learner = random_batch(GATED, ROBOT, BATCH), used("gated-ddpg")
    features = features_in_numpy("gated-ddpg", learner, batch.observation)
    residual = actor_in_numpy("gated-ddpg", learner.actor, features)
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


def test_where_the_residual_would_change_nothing_the_gate_is_shut():
    """A base at its bound, and a residual that points outwards: what acts is the base, and so is said to be."""
    batch, learner = random_batch(GATED, ROBOT, BATCH), used("gated-ddpg")
    outwards = eqx.tree_at(lambda actor: actor.layers[-1].bias, learner.actor, jnp.full((1, ROBOT.action_size), 50.0))
    batch = batch._replace(base_action=np.ones_like(batch.base_action))
    acted = residual_of("gated-ddpg", learner._replace(actor=outwards), batch)
    np.testing.assert_array_equal(acted, np.zeros_like(acted))


def test_a_single_critic_cannot_agree_with_others():
    with pytest.raises(ValidationError, match="num_critics"):
        GatedDDPG(num_critics=1)
