"""Compare a learned model with an episode that it has not seen: its error, and whether it knows its error."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from residual_rl.pets.ensemble import Ensemble, predict
from residual_rl.types import Array

PARTICLES = 20
"""Of each network, for an assessment."""
USED = 2.0
"""Deviations within which 95 % of what happens should lie."""

LEAST = 1e-5
"""An entry that varies less than this, beside its size, is constant, and not assessed."""


class Assessment(NamedTuple):
    """What a model predicts so many steps ahead under the actions that were taken: an entry for each number of steps."""

    error: np.ndarray
    """[T] root mean square of true minus predicted mean. An entry's unit is its deviation over all steps of the episode."""
    predicted: np.ndarray
    """[T] root mean square of the deviation that the model predicts, in the same units. It equals the error if the model is
    calibrated."""
    covered: np.ndarray
    """[T] share of what happened that lies within two predicted deviations; 0.95 for a normal distribution."""


def assess(model: Ensemble, observation: Array, action: Array, after: Array, horizon: int, seed: int = 0) -> Assessment:
    """Assess the model on one episode, from each step that has so many others after it.

    Args:
        model: the learned model, before it saw the episode.
        observation: `[S, O]`
        action: `[S, A]`, with bounds -1 and 1.
        after: `[S, O]` the next observations.
        horizon: steps ahead, S at most.
        seed: of the random numbers.
    """
    observation, action, after = (np.asarray(array, np.float32) for array in (observation, action, after))
    horizon = min(horizon, len(action))
    starts = np.arange(len(action) - horizon + 1)
    ahead = starts + np.arange(horizon)[:, None]  # [T, starts]
    size = after.std(axis=0)
    used = size > LEAST * (1.0 + np.abs(after.mean(axis=0)))
    mean, deviation = _imagined(model, observation[starts], action[ahead], jax.random.key(seed))
    error = (after[ahead] - np.asarray(mean))[..., used] / size[used]
    predicted = np.asarray(deviation)[..., used] / size[used]
    return Assessment(
        np.sqrt(np.square(error).mean(axis=(1, 2))),
        np.sqrt(np.square(predicted).mean(axis=(1, 2))),
        (np.abs(error) <= USED * predicted).mean(axis=(1, 2)),
    )


@partial(jax.jit)
def _imagined(model: Ensemble, observation: Array, actions: Array, key: Array) -> tuple[Array, Array]:
    """Return mean and deviation of the particles of all networks, TS-inf: `[S, O], [T, S, A] -> [T, S, O]` twice."""
    networks, (rows, size) = len(model.highest), observation.shape

    def step(state: Array, now: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        action, key = now
        repeated = jnp.broadcast_to(action[None, None], (networks, PARTICLES, *action.shape)).reshape(
            networks, -1, action.shape[-1]
        )
        mean, deviation = predict(model, state, repeated)
        after = mean + deviation * jax.random.normal(key, mean.shape)
        each = after.reshape(networks * PARTICLES, rows, size)
        return after, (each.mean(axis=0), each.std(axis=0))

    begin = jnp.broadcast_to(observation[None, None], (networks, PARTICLES, rows, size)).reshape(networks, -1, size)
    _, seen = jax.lax.scan(step, begin, (actions, jax.random.split(key, len(actions))))
    return seen
