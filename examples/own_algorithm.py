"""Improve a controller with an algorithm of your own: `python examples/own_algorithm.py`."""

from typing import Any, ClassVar, Literal, NamedTuple

import ball_on_beam  # noqa: F401, registers BallOnBeam-v0
import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from pid import PID
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

import residual_rl
from residual_rl.learning.actor_critic import bounded_value, descend, follow
from residual_rl.learning.algorithm import Algorithm, Metrics, Settings
from residual_rl.learning.algorithms import ALGORITHMS
from residual_rl.learning.burn_in import FixedBurnIn
from residual_rl.learning.exploration import Roles
from residual_rl.learning.networks import MLP, Hidden
from residual_rl.residual import Composition
from residual_rl.types import Acted, Array, Observation, Spec, Transition


# --8<-- [start:learner]
class Networks(NamedTuple):
    """What acting needs, and what a saved policy consists of."""

    critic: MLP
    acts: Array
    """[] bool, whether burn-in is over."""


class Learner(NamedTuple):
    """All that learning changes: any tree of JAX arrays."""

    networks: Networks
    target: MLP
    optimizer: optax.OptState


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SampledQ(Algorithm):
    """Q-learning without an actor: draw some residuals, and apply the one with the highest value if it beats the base."""

    name: Literal["sampled-q"] = "sampled-q"
    composition: Composition = Composition(actor_sees_base=True)
    burn_in: FixedBurnIn = FixedBurnIn()
    hidden: Hidden = (64, 64)
    samples: int = Field(default=8, gt=0)
    """Residuals that are compared with the base."""
    rate: float = Field(default=1e-3, gt=0)
    target_rate: float = Field(default=0.02, gt=0, le=1)
    random_ratio: float = Field(default=0.1, ge=0, le=1)
    """Share of exploring steps whose residual is random."""

    metrics: ClassVar[tuple[str, ...]] = ("critic_loss", "mean_value")

    def init(self, spec: Spec, key: Array) -> Learner:
        """Return a learner whose residual is exactly zero."""
        size = spec.observation_size + spec.goal_size + spec.action_size
        critic = MLP(size, 1, self.hidden, layer_norm=True, key=key)
        optimizer = optax.adam(self.rate).init(eqx.filter(critic, eqx.is_array))
        return Learner(Networks(critic, jnp.zeros((), bool)), critic, optimizer)

    def acting(self, learner: Learner) -> Networks:
        """Return what acts."""
        return learner.networks
        # --8<-- [end:learner]

    # --8<-- [start:rule]
    def values(self, networks: Networks, observation: Observation, base_action: Array, residual: Array) -> Array:
        """Return the critic's value of a residual: `[1, B]`. The doctor asks for it too."""
        return self._value(networks.critic, observation, base_action, residual)[None]

    def act(
        self, networks: Networks, observation: Observation, base_action: Array, key: Array, roles: Roles, settings: Settings
    ) -> Acted:
        """Return the best of the drawn residuals `[B, A]`, or zero."""
        best_key, choice_key, random_key = jax.random.split(key, 3)
        residual, _ = self._best(networks.critic, observation, base_action, best_key, settings["scale"])
        residual = jnp.where(networks.acts, residual, 0.0)
        chosen = roles.explore & (jax.random.uniform(choice_key, roles.explore.shape) < self.random_ratio)
        random = jax.random.uniform(random_key, residual.shape, minval=-1.0, maxval=1.0)
        return Acted(jnp.where(chosen[:, None], random, residual), {})

    def update(self, learner: Learner, batch: Transition, spec: Spec, key: Array, train_actor: bool) -> tuple[Learner, Metrics]:
        """Return the learner after a gradient step, and the metrics."""
        networks, target = learner.networks, learner.target
        _, following = self._best(target, batch.next_observation, batch.next_base_action, key)
        wanted = bounded_value(spec, batch.reward + batch.discount * following)

        def loss(critic: MLP) -> tuple[Array, Array]:
            value = self._value(critic, batch.observation, batch.base_action, batch.residual)
            return jnp.square(value - wanted).mean(), value.mean()

        (critic_loss, mean_value), gradient = eqx.filter_value_and_grad(loss, has_aux=True)(networks.critic)
        critic, optimizer = descend(optax.adam(self.rate), networks.critic, gradient, learner.optimizer)
        networks = Networks(critic, jnp.asarray(train_actor))
        metrics = {"critic_loss": critic_loss, "mean_value": mean_value}
        return Learner(networks, follow(target, critic, self.target_rate), optimizer), metrics

    def _value(self, critic: MLP, observation: Observation, base_action: Array, residual: Array, scale: Any = None) -> Array:
        scored = self.composition.scored(base_action, residual, scale)
        inputs = [observation["observation"], observation["desired_goal"], scored]
        return critic(jnp.concatenate(inputs, axis=-1))[..., 0]

    def _best(
        self, critic: MLP, observation: Observation, base_action: Array, key: Array, scale: Any = None
    ) -> tuple[Array, Array]:
        """Return the best of zero and some drawn residuals `[B, A]`, and its value `[B]`."""
        drawn = jax.random.uniform(key, (self.samples, *base_action.shape), minval=-1.0, maxval=1.0)
        residuals = jnp.concatenate([jnp.zeros_like(base_action)[None], drawn])  # [N, B, A]
        values = jax.vmap(lambda residual: self._value(critic, observation, base_action, residual, scale))(residuals)
        best = values.argmax(axis=0)
        return residuals[best, jnp.arange(len(best))], values.max(axis=0)
        # --8<-- [end:rule]


# --8<-- [start:row]
ALGORITHMS["sampled-q"] = SampledQ
# --8<-- [end:row]


def main(out: str = "runs/ball-on-beam-sampled-q", **budget: Any) -> None:
    """Improve the tutorial's controller with it."""
    # --8<-- [start:improve]
    controller = residual_rl.per_lane(PID)
    run = residual_rl.improve("BallOnBeam-v0", controller, out=out, **{"algorithm": SampledQ(), **budget})
    print(run.verdict())
    # --8<-- [end:improve]


if __name__ == "__main__":
    main()
