"""Running statistics against NumPy's."""

import jax.numpy as jnp
import numpy as np
import pytest

from residual_rl.learning import normalizer as norm


def after(chunks):
    normalizer = norm.empty(chunks[0].shape[1])
    for chunk in chunks:
        normalizer = norm.add(normalizer, jnp.asarray(chunk, jnp.float32))
    return normalizer


def statistics(normalizer):
    return np.asarray(normalizer.mean), np.sqrt(np.asarray(normalizer.squares) / float(normalizer.count))


@pytest.mark.parametrize("sizes", [[100], [1, 99], [50, 50], [1] * 10, [3, 90, 1, 6]])
def test_mean_and_deviation_are_numpys_over_all_chunks(sizes):
    rng = np.random.default_rng(0)
    # Features of very different size and offset: a robot's are.
    chunks = [rng.normal([0.0, 100.0, -3.0], [1.0, 0.1, 30.0], (size, 3)) for size in sizes]
    mean, deviation = statistics(after(chunks))
    everything = np.concatenate(chunks)
    np.testing.assert_allclose(mean, everything.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(deviation, everything.std(axis=0), rtol=1e-2)


def test_the_order_of_chunks_does_not_matter():
    chunks = np.split(np.random.default_rng(0).normal(2.0, 3.0, (60, 2)), 6)
    for one, other in zip(statistics(after(chunks)), statistics(after(chunks[::-1])), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_what_was_seen_becomes_centred_with_deviation_one():
    features = np.random.default_rng(0).normal(7.0, 2.0, (500, 3)).astype(np.float32)
    normalized = np.asarray(norm.normalize(after([features]), features))
    np.testing.assert_allclose(normalized.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(normalized.std(axis=0), 1.0, rtol=1e-3)


def test_statistics_of_nothing_change_nothing_but_what_is_far():
    features = jnp.array([[-7.0, -0.5, 3.0], [0.0, 5.0, 5.1]])
    np.testing.assert_allclose(norm.normalize(norm.empty(3), features), [[-5.0, -0.5, 3.0], [0.0, 5.0, 5.0]])


def test_a_constant_feature_becomes_zero_and_its_changes_stay_bounded():
    normalizer = after([np.full((50, 1), 3.0)])
    # The least deviation is 0.01: a change of 0.02 counts as two, one of 1 as five, the most there is.
    normalized = norm.normalize(normalizer, jnp.array([[3.0], [3.02], [4.0], [2.0]]))
    np.testing.assert_allclose(normalized[:, 0], [0.0, 2.0, 5.0, -5.0], atol=1e-3)


def test_large_numbers_are_told_apart():
    """Revolutions a minute, pascal, encoder counts."""
    values = np.linspace(1e5, 1e5 + 1000.0, 101)[:, None]
    normalized = norm.normalize(after([values]), jnp.array([[1e5], [1e5 + 500.0], [1e5 + 1000.0]]))
    np.testing.assert_allclose(normalized[:, 0], [-1.71, 0.0, 1.71], atol=0.01)


def test_what_float32_could_not_square_counts_as_the_largest_that_it_can():
    chunks = [np.array([[1e30], [-1e30], [2e9], [-2e9]])]
    mean, deviation = statistics(after(chunks))
    np.testing.assert_allclose((mean[0], deviation[0]), (0.0, 1e9), rtol=1e-5)
    normalized = norm.normalize(after(chunks), jnp.array([[1e30], [1e9]]))
    np.testing.assert_array_equal(normalized[0], normalized[1])


def test_adding_is_pure():
    normalizer = after([np.ones((4, 2))])
    before = [np.array(leaf) for leaf in normalizer]
    norm.add(normalizer, jnp.zeros((3, 2)))
    for one, other in zip(normalizer, before, strict=True):
        np.testing.assert_array_equal(one, other)
