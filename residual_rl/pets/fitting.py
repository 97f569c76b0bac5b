"""Fit the ensemble to the transitions seen so far. One compiled call, however many transitions there are."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from residual_rl.pets.ensemble import Ensemble, ModelSettings, loss, new_ensemble, scales_of
from residual_rl.types import Array


class Seen(NamedTuple):
    """Transitions in arrays of a fixed length, of which the first ones are filled."""

    observation: Array
    """[D, O]"""
    action: Array
    """[D, A] in units in which the bounds are -1 and 1."""
    change: Array
    """[D, O] next observation minus observation."""
    count: Array
    """[] how many rows are filled."""


class Fitted(NamedTuple):
    """The model and the state of its optimizer."""

    model: Ensemble
    optimizer: optax.OptState


def start(observation_size: int, action_size: int, settings: ModelSettings, key: Array) -> Fitted:
    """Return a model that has seen nothing."""
    model = new_ensemble(observation_size, action_size, settings, key)
    return Fitted(model, optax.adam(settings.learning_rate).init(_learned(model)))


def updates_for(count: int, settings: ModelSettings) -> int:
    """Return the number of updates with so many transitions."""
    return max(settings.least_updates, round(settings.epochs * count / settings.batch_size))


@partial(jax.jit, static_argnames="settings")
def fit(fitted: Fitted, seen: Seen, updates: Array, settings: ModelSettings, key: Array) -> tuple[Fitted, Array]:
    """Return the model after some more updates, and each network's mean loss over the last tenth of them `[N]`.

    Each network has a sample of the transitions of its own, drawn with replacement, from which its batches come.
    Source: Chua et al. 2018, section 4 (bootstrapped ensembles).
    """
    is_used = jnp.arange(len(seen.action)) < seen.count
    inputs, change = scales_of(seen.observation, seen.action, seen.change, is_used)
    model = fitted.model._replace(inputs=inputs, change=change)
    of_sample, of_batches = jax.random.split(key)
    size = (settings.networks, len(seen.action))
    sample = jax.random.randint(of_sample, size, 0, seen.count)
    optimizer = optax.adam(settings.learning_rate)
    counted_from = updates - jnp.maximum(updates // 10, 1)

    def update(number: Array, carried: tuple[Ensemble, optax.OptState, Array]) -> tuple[Ensemble, optax.OptState, Array]:
        model, state, total = carried
        place = jax.random.randint(
            jax.random.fold_in(of_batches, number), (settings.networks, settings.batch_size), 0, seen.count
        )
        rows = jnp.take_along_axis(sample, place, axis=1)
        batch = seen.observation[rows], seen.action[rows], seen.change[rows]
        gradients, likelihood = jax.grad(lambda learned: loss(_with(model, learned), settings, *batch), has_aux=True)(
            _learned(model)
        )
        steps, state = optimizer.update(gradients, state)
        model = _with(model, optax.apply_updates(_learned(model), steps))
        return model, state, total + jnp.where(number >= counted_from, likelihood, 0.0)

    nothing = jnp.zeros(settings.networks)
    model, state, total = jax.lax.fori_loop(0, updates, update, (model, fitted.optimizer, nothing))
    return Fitted(model, state), total / (updates - counted_from)


def _learned(model: Ensemble) -> tuple[Array, ...]:
    """The part of a model that an optimizer changes."""
    return model.weights, model.biases, model.highest, model.lowest  # type: ignore[return-value]


def _with(model: Ensemble, learned: Any) -> Ensemble:
    weights, biases, highest, lowest = learned
    return model._replace(weights=weights, biases=biases, highest=highest, lowest=lowest)
