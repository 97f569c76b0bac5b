"""DDPG on the residual, as published: the learner of Silver et al. 2018."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from residual_rl.learning.algorithm import Learner, Metrics, Networks, Roles, bounded_value, descend, follow, init_learner
from residual_rl.learning.bandit import Scores
from residual_rl.learning.burn_in import FixedBurnIn, ValueChangeBurnIn
from residual_rl.learning.networks import MLP, Hidden, residual_of, values_of
from residual_rl.learning.normalizer import normalize
from residual_rl.residual import SILVER2018, Composition
from residual_rl.types import Array, Observation, Spec, Transition


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class DDPG:
    """Deterministic policy gradient with one critic, Gaussian and uniform exploration.

    Source: Silver et al. 2018, section IV and appendix; where they differ, the published code. Differs: bootstrap targets are
    clipped to what the task's rewards allow, which on MBRLPusher has no lower end, where the code clipped them to that of a
    reward of -1; and a full replay loses its oldest rows, not random episodes.
    """

    name: Literal["ddpg"] = "ddpg"
    composition: Composition = SILVER2018
    burn_in: Annotated[FixedBurnIn | ValueChangeBurnIn, Field(discriminator="rule")] = ValueChangeBurnIn()
    hidden: Hidden = (256, 256, 256)
    frames: int = Field(default=1, ge=1, le=64)
    """Of which an observation consists. Actor and critic are shown one at a time, and what they say is averaged: published for
    NoisyHook. So they cannot compare frames."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's, for actor and critic."""
    target_rate: float = Field(default=0.05, gt=0, le=1)
    target_interval: int = Field(default=40, gt=0)
    """Updates between two steps of the target networks: once a cycle, as published."""
    residual_penalty: float = Field(default=1.0, ge=0)
    """Weight of the mean squared residual in the actor's loss."""
    noise: float = Field(default=0.2, ge=0)
    """Standard deviation of the Gaussian noise on the residual."""
    random_ratio: float = Field(default=0.3, ge=0, le=1)
    """Share of steps whose residual is not the actor's, but drawn uniformly, or the one with which the controller acts."""
    expert_ratio: float = Field(default=0.0, ge=0, le=1)
    """Of these steps, the share in which the controller acts: expert-explore's alpha, where `random_ratio` is its epsilon."""

    def init(self, spec: Spec, key: Array) -> Learner:
        """A learner whose residual is exactly zero."""
        feature_size = spec.observation_size + spec.goal_size
        if self.composition.actor_sees_base:
            feature_size += spec.action_size
        optimizer = optax.adam(self.learning_rate)
        return init_learner(spec, feature_size, self.hidden, 1, False, (optimizer, optimizer), key, self.frames)

    def features(self, observation: Observation, base_action: Array) -> Array:
        """Observation and desired goal, and the base action where the composition shows it: `[B, F]`."""
        parts = [observation["observation"], observation["desired_goal"]]
        if self.composition.actor_sees_base:
            parts.append(base_action)
        return jnp.concatenate(parts, axis=-1)

    def act(self, networks: Networks, observation: Observation, base_action: Array, key: Array, roles: Roles) -> Array:
        """The actor's residual `[B, A]`; in rows that explore with Gaussian noise, drawn uniformly, or the controller's.

        Differs: the controller's action is clipped and so stored as it was executed; the published code stored it unclipped.
        """
        features = normalize(networks.normalizer, self.features(observation, base_action))
        residual = residual_of(networks.actor, features)
        noise_key, uniform_key, choice_key = jax.random.split(key, 3)
        noisy = (residual + self.noise * jax.random.normal(noise_key, residual.shape)).clip(-1.0, 1.0)
        uniform = jax.random.uniform(uniform_key, residual.shape, minval=-1.0, maxval=1.0)
        by_expert = self.composition.residual(base_action, base_action.clip(-1.0, 1.0)).clip(-1.0, 1.0)
        choice = jax.random.uniform(choice_key, roles.explore.shape)[:, None]
        explored = jnp.where(choice < self.random_ratio, uniform, noisy)
        explored = jnp.where(choice < self.random_ratio * self.expert_ratio, by_expert, explored)
        return jnp.where(roles.explore[:, None], explored, residual)

    def roles(self, rng: np.random.Generator, num_envs: int, burn_in: bool, scores: Scores) -> Roles:
        """All lanes explore; while the actor is frozen a coin decides between all and none. The residual drives all of them."""
        return Roles(explore=np.full(num_envs, not burn_in or rng.random() < 0.5), arm=np.ones(num_envs, dtype=np.int32))

    def after(self, scores: Scores, new: Sequence[tuple[float, int]]) -> Scores:
        """None are kept: nothing depends on them."""
        return scores

    def delivered(self, scores: Scores) -> Self:
        """As it is."""
        return self

    def update(self, learner: Learner, batch: Transition, spec: Spec, train_actor: bool) -> tuple[Learner, Metrics]:
        """One step of critic and actor. A frozen actor's optimizer still moves on, as published."""
        features = normalize(learner.normalizer, self.features(batch.observation, batch.base_action))
        next_features = normalize(learner.normalizer, self.features(batch.next_observation, batch.next_base_action))
        next_residual = residual_of(learner.target_actor, next_features)
        next_scored = self.composition.scored(batch.next_base_action, next_residual)
        next_value = values_of(learner.target_critics, next_features, next_scored)[0]
        target = bounded_value(spec, batch.reward + batch.discount * next_value)

        def critic_loss(critics: MLP) -> Array:
            value = values_of(critics, features, self.composition.scored_of(batch))[0]
            return jnp.mean(jnp.square(value - target))

        def actor_loss(actor: MLP) -> tuple[Array, Array]:
            residual = residual_of(actor, features)
            scored = self.composition.scored(batch.base_action, residual)
            value = values_of(learner.critics, features, scored).mean()
            return -value + self.residual_penalty * jnp.mean(jnp.square(residual)), value

        loss, critic_gradient = eqx.filter_value_and_grad(critic_loss)(learner.critics)
        (_, value), actor_gradient = eqx.filter_value_and_grad(actor_loss, has_aux=True)(learner.actor)
        optimizer = optax.adam(self.learning_rate)
        critics, critic_optimizer = descend(optimizer, learner.critics, critic_gradient, learner.critic_optimizer)
        actor, actor_optimizer = descend(optimizer, learner.actor, actor_gradient, learner.actor_optimizer)
        if not train_actor:
            actor = learner.actor
        updates = learner.updates + 1
        rate = jnp.where(updates % self.target_interval == 0, self.target_rate, 0.0)
        learner = Learner(
            actor=actor,
            critics=critics,
            target_actor=follow(learner.target_actor, actor, rate),
            target_critics=follow(learner.target_critics, critics, rate),
            averaged_actor=actor,
            averaged_critics=critics,
            actor_optimizer=actor_optimizer,
            critic_optimizer=critic_optimizer,
            normalizer=learner.normalizer,
            updates=updates,
        )
        return learner, {"critic_loss": loss, "mean_value": value}
