"""Trajectory sampling: follow sequences of actions through the learned model, many particles each.

Source: Chua et al. 2018, section 5: TS-1 and TS-inf.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from residual_rl.pets.ensemble import Ensemble, predict
from residual_rl.types import Array

Propagation = Literal["ts1", "tsinf"]
"""Which network moves a particle: a new one at each step, or the same one through all of them."""

Reward = Callable[[Array, Array, Array], Array]
"""`observation [B, O], action [B, A], next_observation [B, O] -> [B]`, on arrays of JAX, action with bounds -1 and 1."""


def returns_of(
    model: Ensemble, observation: Array, actions: Array, reward: Reward, keys: Array, particles: int, kind: Propagation
) -> Array:
    """Return the mean return of each sequence over its particles.

    The networks have equally many particles of each sequence. The sequences of a lane share their random numbers, so that
    they differ by their actions alone; the lanes' are independent of each other.

    Args:
        model: N networks.
        observation: `[E, O]` where the sequences start.
        actions: `[E, C, T, A]`, C sequences for each lane.
        reward: of a step.
        keys: `[E]` random keys.
        particles: of each sequence; a multiple of N.
        kind: see `Propagation`.

    Returns:
        `[E, C]`; minus infinity for a sequence whose return is not finite.
    """
    networks, (lanes, count, steps, _) = len(model.highest), actions.shape
    share, size = particles // networks, observation.shape[-1]
    shape = (networks, lanes, count, share)
    # One key for each step of each lane: [T, E].
    of_steps = jnp.swapaxes(jax.vmap(lambda key: jax.random.split(key, steps))(keys), 0, 1)

    def step(state: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        action, of_lanes = now  # [E, C, A], [E]
        rows = jnp.broadcast_to(action[None, :, :, None], (*shape, action.shape[-1])).reshape(networks, -1, action.shape[-1])
        mean, deviation = predict(model, state.reshape(networks, -1, size), rows)
        noise = jax.vmap(lambda key: jax.random.normal(key, (networks, share, size)))(of_lanes)  # [E, N, share, O]
        spread = deviation.reshape(*shape, size) * jnp.swapaxes(noise, 0, 1)[:, :, None]
        after = mean.reshape(*shape, size) + spread
        flat = (-1, size)
        gained = reward(state.reshape(flat), rows.reshape(-1, action.shape[-1]), after.reshape(flat)).reshape(shape)
        if kind == "ts1":
            after = _shuffled(after, of_lanes)
        return after, gained.mean(axis=(0, 3))

    begin = jnp.broadcast_to(observation[None, :, None, None], (*shape, size))
    _, gained = jax.lax.scan(step, begin, (jnp.moveaxis(actions, 2, 0), of_steps))
    total = gained.sum(axis=0)
    return jnp.where(jnp.isfinite(total), total, -jnp.inf)


def _shuffled(state: Array, of_lanes: Array) -> Array:
    """Return the particles `[N, E, C, share, O]` dealt out to the networks anew; all sequences of a lane alike."""
    networks, lanes, count, share, size = state.shape
    order = jax.vmap(lambda key: jax.random.permutation(jax.random.fold_in(key, 1), networks * share))(of_lanes)  # [E, P]
    flat = state.transpose(1, 0, 3, 2, 4).reshape(lanes, networks * share, count, size)
    dealt = jax.vmap(lambda particles, which: particles[which])(flat, order)
    return dealt.reshape(lanes, networks, share, count, size).transpose(1, 0, 3, 2, 4)
