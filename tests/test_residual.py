"""How a base action and a residual become an action."""

import hypothesis.extra.numpy as arrays
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probes import ROBOT, SMALL, acted, random_batch, random_observation
from pydantic import ValidationError

from residual_rl.learning import algorithm as learning
from residual_rl.learning.exploration import greedy
from residual_rl.residual import SILVER2018, Composition

SHAPE = (7, 3)


def within(limit, dtype=np.float64):
    width = np.dtype(dtype).itemsize * 8
    bound = float(dtype(limit))
    return arrays.arrays(dtype, SHAPE, elements=st.floats(-bound, bound, width=width))


compositions = st.builds(
    Composition,
    scale=st.floats(0.125, 4.0),
    clip_base=st.booleans(),
    critic_scores=st.sampled_from(["action", "residual"]),
)


# ---- a fresh learner is the base ----


@pytest.mark.parametrize("algorithm", SMALL.values(), ids=SMALL)
def test_fresh_residual_is_exactly_zero(algorithm):
    rng = np.random.default_rng(0)
    learner = learning.init(algorithm, ROBOT, jax.random.key(3))
    observation = random_observation(rng, ROBOT, 64)
    base_action = rng.uniform(-1, 1, (64, ROBOT.action_size))
    residual = acted(algorithm, learner.current, observation, base_action, jax.random.key(0), greedy(64))
    np.testing.assert_array_equal(residual, np.zeros((64, ROBOT.action_size)))
    np.testing.assert_array_equal(algorithm.composition.action(base_action, np.asarray(residual)), base_action)


# ---- the sum ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(composition=compositions, data=st.data())
def test_zero_residual_gives_the_base_action_within_bounds_in_its_own_dtype(dtype, composition, data):
    base_action = data.draw(within(5.0, dtype))
    action = composition.action(base_action, np.zeros(SHAPE, dtype))
    assert action.dtype == dtype
    np.testing.assert_array_equal(action, base_action.clip(-1.0, 1.0))


@given(composition=compositions, base_action=within(50.0), residual=within(1.0))
def test_the_action_lies_in_its_box(composition, base_action, residual):
    action = composition.action(composition.base_action(base_action), residual)
    assert np.abs(action).max() <= 1.0


@given(composition=compositions, base_action=within(1.5), residual=within(1.0))
def test_residual_inverts_action_where_nothing_was_clipped(composition, base_action, residual):
    free = np.abs(base_action + composition.scale * residual) < 1.0
    recovered = composition.residual(base_action, composition.action(base_action, residual))
    np.testing.assert_allclose(recovered[free], residual[free], atol=1e-12)


@given(base_action=within(1.0), wanted=within(1.0))
def test_a_residual_of_scale_two_can_turn_any_base_action_into_any_other(base_action, wanted):
    composition = Composition(scale=2.0)
    residual = composition.residual(base_action, wanted)
    assert np.abs(residual).max() <= 1.0
    np.testing.assert_allclose(composition.action(base_action, residual), wanted, atol=1e-12)


@given(base_action=within(1.0))
def test_a_residual_of_scale_one_can_cancel_any_base_action(base_action):
    np.testing.assert_array_equal(Composition(scale=1.0).action(base_action, -base_action), np.zeros(SHAPE))


@given(proposal=within(50.0), residual=within(1.0))
def test_silver2018_cannot_move_a_base_component_beyond_three(proposal, residual):
    assert (SILVER2018.scale, SILVER2018.clip_base) == (2.0, False)
    base_action = SILVER2018.base_action(proposal)
    np.testing.assert_array_equal(base_action, proposal)
    far = np.abs(base_action) >= 3.0
    np.testing.assert_array_equal(SILVER2018.action(base_action, residual)[far], np.sign(base_action[far]))


@given(proposal=within(50.0), wanted=within(1.0))
def test_a_clipped_base_can_always_be_moved(proposal, wanted):
    composition = Composition(scale=2.0, clip_base=True)
    base_action = composition.base_action(proposal)
    np.testing.assert_array_equal(base_action, np.clip(proposal, -1.0, 1.0))
    residual = composition.residual(base_action, wanted)
    assert np.abs(residual).max() <= 1.0


@given(composition=compositions, proposal=within(5.0, np.float32), residual=within(1.0, np.float32))
def test_numpy_and_jax_agree(composition, proposal, residual):
    base_action = composition.base_action(proposal)
    in_jax = composition.base_action(jnp.asarray(proposal))
    np.testing.assert_array_equal(in_jax, base_action)
    action = composition.action(in_jax, jnp.asarray(residual))
    assert action.dtype == np.float32
    np.testing.assert_allclose(action, composition.action(base_action, residual), atol=1e-6)
    inverse = composition.residual(in_jax, action)
    np.testing.assert_allclose(inverse, composition.residual(base_action, np.asarray(action)), rtol=1e-5, atol=1e-5)


# ---- what the critic scores ----


@pytest.mark.parametrize("algorithm", SMALL.values(), ids=SMALL)
def test_what_is_taught_and_what_is_asked_are_the_same_thing(algorithm):
    """Else the critic would be asked about something it never saw."""
    batch = random_batch(algorithm, ROBOT, 32)
    asked = algorithm.composition.scored(batch.base_action, batch.residual)
    np.testing.assert_array_equal(asked, algorithm.composition.scored_of(batch))


def test_the_critic_scores_what_its_field_says():
    batch = random_batch(SMALL["ddpg"], ROBOT, 32)
    assert Composition(critic_scores="action").scored_of(batch) is batch.action
    assert Composition(critic_scores="residual").scored_of(batch) is batch.residual
    assert SILVER2018.critic_scores == "residual"


# ---- fields ----


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scale", 0.0),
        ("scale", -1.0),
        ("scale", float("nan")),
        ("scale", float("inf")),  # inf * 0 is no number: the fresh residual would not be the base
        ("critic_scores", "both"),
        ("relabel", "forget"),
        ("clip_base", "perhaps"),
    ],
)
def test_a_field_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValidationError, match=field):
        Composition(**{field: value})


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises((ValidationError, TypeError), match="scael"):
        Composition(scael=2.0)


def test_a_composition_cannot_be_changed():
    with pytest.raises(AttributeError):
        Composition().scale = 2.0
