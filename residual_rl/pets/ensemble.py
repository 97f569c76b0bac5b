"""The learned model: an ensemble of networks, each of which predicts a normal distribution of the next observation.

Letters beside those of `types`: N networks, M rows of each, I inputs (O + A), H hidden units.

Source: Chua et al. 2018 (PETS), section 4 and appendix A.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from residual_rl.types import Array

SMALLEST_DEVIATION = 1e-6
"""Of an entry; less is rounding."""
SMALLEST_CHANGE = 1e-3
"""Deviation of an entry's change, as a share of the entry's own: an object that nothing has touched yet stays where it is."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ModelSettings:
    """The size of the ensemble, and how it is fitted. The defaults are for two cores."""

    networks: Annotated[int, Field(ge=1)] = 5
    """Networks in the ensemble. Published: 5."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (128, 128)
    """Units of the hidden layers. Published for the pusher: three layers of 200."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 5e-5
    """Factor of the squared weights in the loss. Published: 0.00025 to 0.00075, by layer."""
    bounds_weight: Annotated[float, Field(ge=0.0)] = 0.01
    """Factor of the width between the learned bounds of the log-variance in the loss. Published: 0.01."""
    variance_weight: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Power of the predicted variance that multiplies the loss of an entry. Published: 0. With 0, an entry that is hard to
    predict gets a large variance and is then hardly learned any more. Source: Seitzer et al. 2022, "On the pitfalls of
    heteroscedastic uncertainty estimation"."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    """Of Adam. Published: 0.001."""
    batch_size: Annotated[int, Field(ge=1)] = 256
    """Transitions of each network in an update. Published: 32; larger batches use a core better."""
    epochs: Annotated[float, Field(gt=0.0)] = 10.0
    """Passes over all transitions after each episode. Published: 5 epochs, of eight times as many updates."""
    least_updates: Annotated[int, Field(ge=1)] = 200
    """Updates after each episode, at least, as long as there are few transitions."""


class Scale(NamedTuple):
    """Centre and size of the entries of an input or of a change, from the data."""

    mean: Array
    """[I] or [O]"""
    deviation: Array
    """[I] or [O]"""


class Ensemble(NamedTuple):
    """The networks and the scales of what goes in and comes out: a tree of arrays."""

    weights: tuple[Array, ...]
    """One `[N, in, out]` for each layer."""
    biases: tuple[Array, ...]
    """One `[N, 1, out]` for each layer."""
    highest: Array
    """[N, 1, O] learned upper bound of the log-variance, in units of `change`."""
    lowest: Array
    """[N, 1, O] learned lower bound."""
    inputs: Scale
    """Of observation and action, side by side."""
    change: Scale
    """Of the change of the observation in one step."""


def new_ensemble(observation_size: int, action_size: int, settings: ModelSettings, key: Array) -> Ensemble:
    """Return networks with random weights. Source: the initialisation of the published code, normal within two deviations."""
    sizes = (observation_size + action_size, *settings.hidden, 2 * observation_size)
    count = settings.networks
    keys = jax.random.split(key, len(sizes) - 1)
    weights = tuple(
        jax.random.truncated_normal(one, -2.0, 2.0, (count, fan_in, fan_out)) / (2.0 * jnp.sqrt(fan_in))
        for one, fan_in, fan_out in zip(keys, sizes[:-1], sizes[1:], strict=True)
    )
    biases = tuple(jnp.zeros((count, 1, size)) for size in sizes[1:])
    bound = jnp.ones((count, 1, observation_size))
    return Ensemble(weights, biases, 0.5 * bound, -10.0 * bound, _unit(sizes[0]), _unit(observation_size))


def _unit(size: int) -> Scale:
    return Scale(jnp.zeros(size), jnp.ones(size))


def predict(model: Ensemble, observation: Array, action: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of each network's next observation: `[N, M, O], [N, M, A] -> [N, M, O]` twice."""
    mean, log_variance = scaled_change(model, observation, action)
    scale = model.change.deviation
    return observation + model.change.mean + scale * mean, scale * jnp.exp(0.5 * log_variance)


def scaled_change(model: Ensemble, observation: Array, action: Array) -> tuple[Array, Array]:
    """Return mean and log-variance of the change, in units of `model.change`: `[N, M, O]` each."""
    x = (jnp.concatenate([observation, action], axis=-1) - model.inputs.mean) / model.inputs.deviation
    last = len(model.weights) - 1
    for index, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
        x = jnp.einsum("nmi,nio->nmo", x, weight) + bias
        if index < last:
            x = jax.nn.swish(x)
    mean, free = jnp.split(x, 2, axis=-1)
    below = model.highest - jax.nn.softplus(model.highest - free)
    return mean, model.lowest + jax.nn.softplus(below - model.lowest)


def negative_log_likelihood(model: Ensemble, observation: Array, action: Array, change: Array) -> tuple[Array, Array]:
    """Return the negative log-likelihood of each entry, without constants, and its log-variance: `[N, M, O]` each."""
    mean, log_variance = scaled_change(model, observation, action)
    error = (change - model.change.mean) / model.change.deviation - mean
    return jnp.square(error) * jnp.exp(-log_variance) + log_variance, log_variance


def loss(model: Ensemble, settings: ModelSettings, observation: Array, action: Array, change: Array) -> tuple[Array, Array]:
    """Return the loss that is minimised, summed over the networks, and their mean `negative_log_likelihood` `[N]`."""
    each, log_variance = negative_log_likelihood(model, observation, action, change)
    weighted = each * jax.lax.stop_gradient(jnp.exp(settings.variance_weight * log_variance))
    width = (model.highest - model.lowest).mean(axis=-1).sum()
    decay = sum(jnp.square(weight).sum() for weight in model.weights)
    total = weighted.mean(axis=(1, 2)).sum() + settings.bounds_weight * width + settings.weight_decay * decay
    return total, each.mean(axis=(1, 2))


def scales_of(observation: Array, action: Array, change: Array, is_used: Array) -> tuple[Scale, Scale]:
    """Return the scales of inputs and changes, from those rows `[D, ...]` that are used `[D]` bool."""
    inputs = _scale_of(jnp.concatenate([observation, action], axis=1), is_used)
    changes = _scale_of(change, is_used)
    least = SMALLEST_CHANGE * inputs.deviation[: observation.shape[1]]
    constant = inputs.deviation < SMALLEST_DEVIATION
    scaled = Scale(inputs.mean, jnp.where(constant, 1.0, inputs.deviation))
    return scaled, Scale(changes.mean, jnp.maximum(jnp.maximum(changes.deviation, least), SMALLEST_DEVIATION))


def _scale_of(rows: Array, is_used: Array) -> Scale:
    weight = is_used[:, None] / is_used.sum()
    mean = (weight * rows).sum(axis=0)
    return Scale(mean, jnp.sqrt((weight * jnp.square(rows - mean)).sum(axis=0)))
