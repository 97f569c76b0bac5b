"""Running mean and standard deviation of the networks' input features."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from residual_rl.types import Array

CLIP_BEFORE = 1e9
"""The features' own units: beyond it, sums of squares come near what float32 can hold.

Differs: 200 in the published code, which no feature of its tasks reaches, and which would make all larger ones equal.
"""
CLIP_AFTER = 5.0  # standard deviations
LEAST_DEVIATION = 0.01
"""Source for both: Silver et al. 2018, appendix; the published code."""


class Normalizer(NamedTuple):
    """Statistics of the features seen so far."""

    count: Array
    """[] float32"""
    mean: Array
    """[F]"""
    squares: Array
    """[F] sum of squared deviations from the mean. Sums of raw squares would cancel badly in float32."""


def empty(size: int) -> Normalizer:
    """Return the statistics before any features: mean 0, standard deviation 1."""
    return Normalizer(jnp.zeros(()), jnp.zeros(size), jnp.zeros(size))


def add(normalizer: Normalizer, features: Array) -> Normalizer:
    """Return the statistics with `features` `[B, F]` counted in. Source: Chan et al. 1983, parallel variance."""
    features = features.clip(-CLIP_BEFORE, CLIP_BEFORE)
    size = jnp.float32(features.shape[0])
    count = normalizer.count + size
    batch_mean = features.mean(axis=0)
    shift = batch_mean - normalizer.mean
    squares = jnp.square(features - batch_mean[None]).sum(axis=0)
    return Normalizer(
        count,
        normalizer.mean + shift * size / count,
        normalizer.squares + squares + jnp.square(shift) * normalizer.count * size / count,
    )


def deviation(normalizer: Normalizer) -> Array:
    """Return the standard deviation by which features are divided: `[F]`."""
    variance = jnp.where(normalizer.count > 0, normalizer.squares / jnp.maximum(normalizer.count, 1.0), 1.0)
    return jnp.sqrt(jnp.maximum(variance, LEAST_DEVIATION**2))


@jax.jit
def factor(normalizer: Normalizer) -> Array:
    """Return `1 / deviation` `[F]` bit for bit as a compiled `normalize` uses it: XLA replaces the division by a product."""
    return 1.0 / deviation(normalizer)


def normalize(normalizer: Normalizer, features: Array) -> Array:
    """`[B, F] -> [B, F]`, centred, scaled and clipped."""
    clipped = features.clip(-CLIP_BEFORE, CLIP_BEFORE)
    return ((clipped - normalizer.mean[None]) / deviation(normalizer)[None]).clip(-CLIP_AFTER, CLIP_AFTER)
