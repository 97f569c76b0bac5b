"""Parts shared by actor-critic learners: networks with their targets, averages and optimizers."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from residual_rl.learning import normalizer as norm
from residual_rl.learning.networks import MLP, make_actor, make_critics
from residual_rl.learning.normalizer import Normalizer
from residual_rl.types import Array, Spec

METRICS = ("critic_loss", "mean_value")


class Networks(NamedTuple):
    """The part of a learner that acting needs: what a saved policy consists of."""

    actor: MLP
    critics: MLP
    normalizer: Normalizer


class Learner(NamedTuple):
    """Everything that learning changes."""

    actor: MLP
    critics: MLP
    """Every parameter has a leading axis [Q]."""
    target_actor: MLP
    target_critics: MLP
    averaged_actor: MLP
    """Averages over recent updates, if the algorithm averages; else copies."""
    averaged_critics: MLP
    actor_optimizer: optax.OptState
    critic_optimizer: optax.OptState
    normalizer: Normalizer
    updates: Array
    """[] int32"""

    @property
    def current(self) -> Networks:
        """The networks that act during training."""
        return Networks(self.actor, self.critics, self.normalizer)

    @property
    def averaged(self) -> Networks:
        """The networks that are evaluated and saved."""
        return Networks(self.averaged_actor, self.averaged_critics, self.normalizer)


def init_learner(
    spec: Spec,
    feature_size: int,
    hidden: tuple[int, ...],
    num_critics: int,
    layer_norm: bool,
    optimizers: tuple[optax.GradientTransformation, optax.GradientTransformation],
    key: Array,
    network: Callable[..., MLP] = MLP,
) -> Learner:
    """Return fresh networks, made by `network`, their targets, and the state of the actor's and the critics' optimizer."""
    actor_key, critic_key = jax.random.split(key)
    actor = make_actor(feature_size, spec.action_size, hidden, network, key=actor_key)
    critics = make_critics(num_critics, feature_size + spec.action_size, hidden, layer_norm, network, key=critic_key)
    return Learner(
        actor=actor,
        critics=critics,
        target_actor=actor,
        target_critics=critics,
        averaged_actor=actor,
        averaged_critics=critics,
        actor_optimizer=optimizers[0].init(eqx.filter(actor, eqx.is_array)),
        critic_optimizer=optimizers[1].init(eqx.filter(critics, eqx.is_array)),
        normalizer=norm.empty(feature_size),
        updates=jnp.zeros((), jnp.int32),
    )


def descend(
    optimizer: optax.GradientTransformation, network: MLP, gradient: MLP, state: optax.OptState
) -> tuple[MLP, optax.OptState]:
    """Take one step of an optimizer: return the new network and the optimizer's new state."""
    change, state = optimizer.update(gradient, state, network)  # type: ignore[arg-type]
    return eqx.apply_updates(network, change), state


def follow(target: MLP, network: MLP, rate: Array | float) -> MLP:
    """Return the target network, moved towards the network: `(1 - rate) target + rate network`."""
    return optax.incremental_update(network, target, rate)  # type: ignore[arg-type]


def bounded_value(spec: Spec, value: Array) -> Array:
    """Return a bootstrap target, clipped to the discounted sums that are possible. Source: Andrychowicz et al. 2017."""
    horizon = 1.0 / (1.0 - spec.discount)
    low, high = spec.reward_range
    return value.clip(horizon * min(low, 0.0), horizon * max(high, 0.0))
