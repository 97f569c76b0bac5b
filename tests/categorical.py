"""An algorithm that the library does not know: Gaussian actor, categorical critic, n-step returns, a key in its learner."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from residual_rl.learning.algorithm import Algorithm, Metrics, Settings
from residual_rl.learning.burn_in import FixedBurnIn
from residual_rl.learning.exploration import Roles
from residual_rl.learning.networks import MLP, make_actor
from residual_rl.residual import Composition
from residual_rl.types import Acted, Array, Observation, Spec, Transition


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Categorical(Algorithm):
    """Policy gradient through a distribution over values. Source of the critic: Bellemare et al. 2017."""

    name: Literal["categorical"] = "categorical"
    composition: Composition = Composition()
    burn_in: FixedBurnIn = FixedBurnIn(cycles=1, updates=4)
    steps: int = Field(default=3, gt=0)
    atoms: int = Field(default=11, gt=1)
    width: int = Field(default=16, gt=0)
    rate: float = Field(default=1e-2, gt=0)
    deviation: float = Field(default=0.3, gt=0)

    metrics: ClassVar[tuple[str, ...]] = ("cross_entropy", "mean_log_probability")

    def init(self, spec: Spec, key: Array) -> dict[str, Any]:
        actor_key, critic_key, own = jax.random.split(key, 3)
        seen = spec.observation_size + spec.goal_size
        networks = {
            "actor": make_actor(seen, spec.action_size, (self.width,), key=actor_key),
            "critic": MLP(seen + spec.action_size, self.atoms, (self.width,), layer_norm=False, key=critic_key),
            "seen": jnp.zeros((), jnp.int32),
        }
        state = optax.adam(self.rate).init(eqx.filter((networks["actor"], networks["critic"]), eqx.is_inexact_array))
        return {"networks": networks, "optimizer": state, "key": own}

    def acting(self, learner: dict[str, Any]) -> dict[str, Any]:
        return learner["networks"]

    def count_in(self, learner: dict[str, Any], transitions: Transition) -> dict[str, Any]:
        networks = learner["networks"]
        return learner | {"networks": networks | {"seen": networks["seen"] + len(transitions.reward)}}

    def stored(self, spec: Spec) -> Mapping[str, jax.ShapeDtypeStruct]:
        return {
            "log_probability": jax.ShapeDtypeStruct((), jnp.float32),
            "noise": jax.ShapeDtypeStruct((spec.action_size,), jnp.float16),
        }

    def act(
        self,
        networks: dict[str, Any],
        observation: Observation,
        base_action: Array,
        key: Array,
        roles: Roles,
        settings: Settings,
    ) -> Acted:
        mean = networks["actor"](_features(observation))
        noise = jnp.where(roles.explore[:, None], jax.random.normal(key, mean.shape), 0.0)
        extras = {"log_probability": -0.5 * jnp.square(noise).sum(axis=1), "noise": noise.astype(jnp.float16)}
        return Acted(jnp.tanh(mean + self.deviation * noise), extras)

    def update(
        self, learner: dict[str, Any], batch: Transition, spec: Spec, key: Array, train_actor: bool
    ) -> tuple[dict[str, Any], Metrics]:
        networks = learner["networks"]
        key, own = jax.random.fold_in(key, jax.random.bits(learner["key"])), jax.random.split(learner["key"])[0]
        support = jnp.linspace(-1.0 / (1.0 - spec.discount), 0.0, self.atoms)

        def logits(critic: Any, observation: Observation, base_action: Array, residual: Array) -> Array:
            scored = self.composition.scored(base_action, residual)
            return critic(jnp.concatenate([_features(observation), scored], axis=1))

        def drawn(actor: Any, observation: Observation, noise: Array) -> Array:
            return jnp.tanh(actor(_features(observation)) + self.deviation * noise)

        noise = jax.random.normal(key, batch.residual.shape)
        next_residual = drawn(networks["actor"], batch.next_observation, noise)
        following = jax.nn.softmax(logits(networks["critic"], batch.next_observation, batch.next_base_action, next_residual))
        target = _projected(support, batch.reward[:, None] + batch.discount[:, None] * support, following)

        def loss(both: tuple[Any, Any]) -> tuple[Array, Array]:
            actor, critic = both
            taught = jax.nn.log_softmax(logits(critic, batch.observation, batch.base_action, batch.residual))
            entropy = -(target * taught).sum(axis=1).mean()
            residual = drawn(actor, batch.observation, noise)
            value = jax.nn.softmax(logits(networks["critic"], batch.observation, batch.base_action, residual)) @ support
            return entropy - train_actor * value.mean(), entropy

        both = networks["actor"], networks["critic"]
        (_, entropy), gradient = eqx.filter_value_and_grad(loss, has_aux=True)(both)
        change, state = optax.adam(self.rate).update(gradient, learner["optimizer"])
        actor, critic = eqx.apply_updates(both, change)
        networks = networks | {"actor": actor if train_actor else networks["actor"], "critic": critic}
        metrics = {"cross_entropy": entropy, "mean_log_probability": batch.extras["log_probability"].mean()}
        return {"networks": networks, "optimizer": state, "key": own}, metrics


def _features(observation: Observation) -> Array:
    return jnp.concatenate([observation["observation"], observation["desired_goal"]], axis=1)


def _projected(support: Array, values: Array, probabilities: Array) -> Array:
    """A distribution over `values` `[B, N]`, moved to the support `[N]`."""
    width = support[1] - support[0]
    share = 1.0 - jnp.abs(values.clip(support[0], support[-1])[:, :, None] - support) / width
    return (probabilities[:, :, None] * share.clip(0.0, 1.0)).sum(axis=1)
