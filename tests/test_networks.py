"""The networks, against the same written in NumPy."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rules import network_in_numpy

from residual_rl.learning.averaged_frames import AveragedFrames
from residual_rl.learning.networks import make_actor, make_critics, residual_of, values_of

FEATURES = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
SCORED = np.random.default_rng(1).uniform(-1, 1, (9, 2)).astype(np.float32)

WIDTHS = (64, 32)


@pytest.fixture(scope="module")
def actor():
    return eqx.filter_jit(make_actor)(5, 2, WIDTHS, key=jax.random.key(0))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "layer norm"])
def critics(request):
    return eqx.filter_jit(make_critics)(3, 7, WIDTHS, request.param, key=jax.random.key(0))


residual_in_jax, values_in_jax = eqx.filter_jit(residual_of), eqx.filter_jit(values_of)


def shaken(network):
    rng = np.random.default_rng(2)

    def moved(leaf):
        noise = rng.normal(scale=0.5, size=np.shape(leaf))
        return jnp.asarray(np.asarray(leaf) + noise, leaf.dtype) if eqx.is_array(leaf) else leaf

    return jax.tree.map(moved, network)


def test_a_fresh_actors_residual_is_exactly_zero_everywhere(actor):
    for features in (FEATURES, 1e6 * FEATURES, np.zeros_like(FEATURES)):
        np.testing.assert_array_equal(residual_in_jax(actor, features), np.zeros((9, 2)))


def test_a_fresh_actor_has_a_gradient(actor):
    """Were more than its last layer zero, it would stay as it is forever."""
    gradient = eqx.filter_jit(eqx.filter_grad(lambda network: residual_of(network, FEATURES).sum()))(actor)
    assert np.abs(gradient.layers[-1].weight).max() > 0.01


def test_the_actor_is_a_perceptron_with_a_bounded_end(actor):
    actor = shaken(actor)
    np.testing.assert_allclose(residual_in_jax(actor, FEATURES), np.tanh(network_in_numpy(actor, FEATURES)), atol=1e-5)
    assert np.abs(residual_in_jax(actor, 1e6 * FEATURES)).max() <= 1.0


def test_each_critic_of_an_ensemble_is_a_network_of_its_own(critics):
    critics = shaken(critics)
    values = values_in_jax(critics, FEATURES, SCORED)
    assert values.shape == (3, 9)
    inputs = np.concatenate([FEATURES, SCORED], axis=1)
    for member in range(3):
        np.testing.assert_allclose(values[member], network_in_numpy(critics, inputs, member)[:, 0], rtol=1e-4, atol=1e-4)


def test_fresh_critics_disagree(critics):
    assert (np.asarray(values_in_jax(critics, FEATURES, SCORED)).std(axis=0) > 1e-3).all()


def test_a_value_depends_on_the_features_and_on_what_is_scored(critics):
    values = np.asarray(values_in_jax(critics, FEATURES, SCORED))
    assert (values != np.asarray(values_in_jax(critics, -FEATURES, SCORED))).all()
    assert (values != np.asarray(values_in_jax(critics, FEATURES, -SCORED))).all()


def test_weights_start_xavier_uniform_and_biases_at_zero(critics):
    sizes = (7, *WIDTHS, 1)
    for layer, fan_in, fan_out in zip(critics.layers, sizes[:-1], sizes[1:], strict=True):
        limit = np.sqrt(6 / (fan_in + fan_out))
        weight = np.asarray(layer.weight)
        assert weight.shape == (3, fan_out, fan_in)
        assert 0.9 * limit < np.abs(weight).max() <= limit
        np.testing.assert_array_equal(layer.bias, np.zeros((3, fan_out)))


def test_frames_are_seen_one_at_a_time_and_averaged() -> None:
    key = jax.random.key(0)
    # two frames of 3 numbers, and 2 more
    actor = shaken(make_actor(8, 2, WIDTHS, partial(AveragedFrames, number=2, size=3), key=key))
    single = eqx.tree_at(lambda network: network.layers, make_actor(5, 2, WIDTHS, key=key), actor.layers)
    x = np.random.default_rng(3).normal(size=(9, 8)).astype(np.float32)
    each = [single(x[:, columns]) for columns in ([0, 1, 2, 6, 7], [3, 4, 5, 6, 7])]
    # Outputs near zero are differences of larger float32 terms, which are added in another order.
    np.testing.assert_allclose(actor(x), np.mean(each, axis=0), rtol=1e-5, atol=1e-5)
    swapped = x[:, [3, 4, 5, 0, 1, 2, 6, 7]]
    np.testing.assert_allclose(actor(x), actor(swapped), rtol=1e-5, atol=1e-5)
    plain = actor.as_layers()
    assert type(plain) is not type(actor)
    np.testing.assert_allclose(plain(x), actor(x), rtol=1e-5, atol=1e-5)
