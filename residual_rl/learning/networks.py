"""The actor's and the critics' network."""

from collections.abc import Callable
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
from pydantic import Field

from residual_rl.types import Array

Hidden = Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(max_length=16)]
"""Widths of the hidden layers, within what a bundle may hold; none for a linear function."""


class MLP(eqx.Module):
    """Fully connected layers with ReLU between them, `[..., I] -> [..., out]`."""

    layers: tuple[eqx.nn.Linear, ...]
    norms: tuple[eqx.nn.LayerNorm, ...]
    """One after each hidden layer, before its ReLU; or none."""

    def __init__(self, in_size: int, out_size: int, hidden: tuple[int, ...], layer_norm: bool, *, key: Array):
        sizes = (in_size, *hidden, out_size)
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = tuple(
            _xavier(fan_in, fan_out, layer_key) for fan_in, fan_out, layer_key in zip(sizes[:-1], sizes[1:], keys, strict=True)
        )
        self.norms = tuple(eqx.nn.LayerNorm(size) for size in hidden) if layer_norm else ()

    def __call__(self, x: Array) -> Array:
        """`[..., I] -> [..., out]`."""
        for index, layer in enumerate(self.layers[:-1]):
            x = _linear(layer, x)
            if self.norms:
                x = _normalized(self.norms[index], x)
            x = jax.nn.relu(x)
        return _linear(self.layers[-1], x)


def make_actor(
    in_size: int, action_size: int, hidden: tuple[int, ...], network: Callable[..., MLP] = MLP, *, key: Array
) -> MLP:
    """Return an actor whose residual is exactly zero everywhere: its last layer is."""
    actor = network(in_size, action_size, hidden, layer_norm=False, key=key)
    return eqx.tree_at(lambda mlp: mlp.layers[-1].weight, actor, jnp.zeros_like(actor.layers[-1].weight))


def make_critics(
    count: int, in_size: int, hidden: tuple[int, ...], layer_norm: bool, network: Callable[..., MLP] = MLP, *, key: Array
) -> MLP:
    """Return independent critics in one network whose every parameter has a leading axis `[Q]`."""
    keys = jax.random.split(key, count)
    return eqx.filter_vmap(lambda one_key: network(in_size, 1, hidden, layer_norm, key=one_key))(keys)


def residual_of(actor: MLP, features: Array) -> Array:
    """`[B, F] -> [B, A]` in (-1, 1)."""
    return jnp.tanh(actor(features))


def values_of(critics: MLP, features: Array, scored: Array) -> Array:
    """Return each critic's value: `[B, F], [B, A] -> [Q, B]`."""
    inputs = jnp.concatenate([features, scored], axis=-1)
    return eqx.filter_vmap(lambda critic: critic(inputs))(critics)[..., 0]


def _linear(layer: eqx.nn.Linear, x: Array) -> Array:
    # On whole batches, not one example at a time under vmap: an eighth of an update's time.
    return x @ layer.weight.T + layer.bias


def _normalized(norm: eqx.nn.LayerNorm, x: Array) -> Array:
    centered = x - x.mean(axis=-1, keepdims=True)
    variance = jnp.square(centered).mean(axis=-1, keepdims=True)
    return centered * jax.lax.rsqrt(variance + norm.eps) * norm.weight + norm.bias


def _xavier(fan_in: int, fan_out: int, key: Array) -> eqx.nn.Linear:
    """Return a linear layer with Xavier-uniform weights and zero biases. Source: the code published with Silver et al. 2018."""
    layer = eqx.nn.Linear(fan_in, fan_out, key=key)  # whose own draw is replaced
    weight = jax.nn.initializers.glorot_uniform()(key, (fan_out, fan_in))
    return eqx.tree_at(lambda linear: (linear.weight, linear.bias), layer, (weight, jnp.zeros(fan_out)))
