"""DDPG whose residual acts only where an ensemble of critics agrees that it beats the base: the recommended learner.

For each state and each critic i of an ensemble, the advantage of the residual action over the base action is

    d_i = Q_i(s, clip(b + scale f(s))) - Q_i(s, b)

The gate is open where `mean_i d_i > caution * std_i d_i`. Comparing member by member cancels what the members get wrong in
common, so the gate opens early where the residual is clearly better and stays shut where nobody knows. Where it is shut
the base acts, exactly. The same rule chooses the next action in the bootstrap target, so that the critics value the policy
that acts.

How much caution is right is measured: the bandit drives training episodes with each of several.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from residual_rl.learning.algorithm import Learner, Metrics, Networks, Roles, bounded_value, descend, follow, init_learner
from residual_rl.learning.bandit import Bandit, Scores, rounded
from residual_rl.learning.burn_in import FixedBurnIn
from residual_rl.learning.networks import MLP, Hidden, residual_of, values_of
from residual_rl.learning.normalizer import normalize
from residual_rl.residual import Composition
from residual_rl.types import Array, Observation, Spec, Transition

MOST_CAUTION = 1e6
Caution = Annotated[float, Field(ge=0, le=MOST_CAUTION)] | None


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class GatedDDPG:
    """Residual DDPG with the paired-advantage gate, LayerNorm critics and sparse exploration."""

    name: Literal["gated-ddpg"] = "gated-ddpg"
    composition: Composition = Composition()
    burn_in: FixedBurnIn = FixedBurnIn()
    hidden: Hidden = (256, 256)
    num_critics: int = Field(default=3, ge=2, le=64)
    cautions: Annotated[tuple[Caution, ...], Field(min_length=1, max_length=8)] = (3.0, 0.5)
    """Standard deviations by which the mean advantage must exceed zero before the residual acts. The bandit tries each in
    training episodes, and what is delivered has the one that did best lately; the bootstrap target has the first. 0 leaves it
    to the critics' mean however much they disagree; None is no gate, the residual acts everywhere."""
    pessimism: float = Field(default=1.0, ge=0)
    """Standard deviations that a bootstrap target stays below the critics' mean. Where they disagree some promise too much, and
    the target would hand it on from state to state. Source: Fujimoto et al. 2018, who take the lesser of two."""
    actor_rate: float = Field(default=3e-5, gt=0)
    """Adam's learning rate of the actor: slow, so that the critics keep up with it."""
    critic_rate: float = Field(default=1e-3, gt=0)
    target_rate: float = Field(default=0.02, gt=0, le=1)
    average_rate: float = Field(default=0.001, gt=0, le=1)
    """The share of each update in the networks that are delivered. What single updates do to the critics makes the gate
    flicker: welcome variety while learning, harmful afterwards."""
    bandit: Bandit = Bandit()
    exploring_ratio: float = Field(default=0.25, ge=0, le=1)
    """Share of the lanes that explores: of those that base plus residual drives, and at most half of them. The others show
    what it is worth undisturbed; to the bandit all count."""
    noise: float = Field(default=0.5, ge=0)
    """Standard deviation of the Gaussian noise on the residual, in the steps that have it."""
    noise_ratio: float = Field(default=0.15, ge=0, le=1)
    """Share of steps with Gaussian noise. Rare: a base may need many undisturbed steps in a row to succeed."""
    random_ratio: float = Field(default=0.02, ge=0, le=1)
    """Share of steps whose residual is drawn uniformly instead."""

    @property
    def caution(self) -> float | None:
        """The first of `cautions`: the bootstrap target's, and as delivered the only one."""
        return self.cautions[0]

    def init(self, spec: Spec, key: Array) -> Learner:
        """A learner whose residual is exactly zero."""
        feature_size = spec.observation_size + 2 * spec.goal_size
        if self.composition.actor_sees_base:
            feature_size += spec.action_size
        optimizers = (optax.adam(self.actor_rate), optax.adam(self.critic_rate))
        return init_learner(spec, feature_size, self.hidden, self.num_critics, True, optimizers, key)

    def features(self, observation: Observation, base_action: Array) -> Array:
        """Observation, desired goal, the way from achieved to desired goal; the base action where shown: `[B, F]`."""
        to_goal = observation["desired_goal"] - observation["achieved_goal"]
        parts = [observation["observation"], observation["desired_goal"], to_goal]
        if self.composition.actor_sees_base:
            parts.append(base_action)
        return jnp.concatenate(parts, axis=-1)

    def gate(self, residual_values: Array, base_values: Array, arm: Array | int = 1) -> Array:
        """Whether the residual acts, from what each critic says of it and of the base: `[Q, B], [Q, B], [B] -> [B]` bool."""
        advantage = residual_values - base_values
        mean, deviation = advantage.mean(axis=0), advantage.std(axis=0)
        by_arm = [jnp.zeros(mean.shape, dtype=bool)]
        for caution in self.cautions:
            by_arm.append(jnp.ones(mean.shape, dtype=bool) if caution is None else mean > caution * deviation)
        return jnp.choose(arm, by_arm, mode="clip")

    def act(self, networks: Networks, observation: Observation, base_action: Array, key: Array, roles: Roles) -> Array:
        """The actor's residual `[B, A]` where it drives and the gate is open, else exactly 0; exploring rows add noise."""
        features = normalize(networks.normalizer, self.features(observation, base_action))
        residual = residual_of(networks.actor, features)
        open_ = self.gate(
            values_of(networks.critics, features, self.composition.scored(base_action, residual)),
            values_of(networks.critics, features, self.composition.scored(base_action, jnp.zeros_like(residual))),
            roles.arm,
        )
        residual = jnp.where(open_[:, None], residual, 0.0)
        noise_key, uniform_key, choice_key = jax.random.split(key, 3)
        noisy = (residual + self.noise * jax.random.normal(noise_key, residual.shape)).clip(-1.0, 1.0)
        uniform = jax.random.uniform(uniform_key, residual.shape, minval=-1.0, maxval=1.0)
        choice = jnp.where(roles.explore, jax.random.uniform(choice_key, roles.explore.shape), 1.0)[:, None]
        explored = jnp.where(choice < self.random_ratio + self.noise_ratio, noisy, residual)
        return jnp.where(choice < self.random_ratio, uniform, explored)

    def roles(self, rng: np.random.Generator, num_envs: int, burn_in: bool, scores: Scores) -> Roles:
        """Once the actor learns, the bandit decides who drives. Of what base plus residual drives at most half explores."""
        arm = np.ones(num_envs, dtype=np.int32) if burn_in else self.bandit.drivers(rng, num_envs, scores).astype(np.int32)
        driven = rng.permutation(np.flatnonzero(arm))
        explore = np.zeros(num_envs, dtype=bool)
        explore[driven[: rounded(rng, min(num_envs * self.exploring_ratio, len(driven) / 2))]] = True
        return Roles(explore, arm)

    def after(self, scores: Scores, new: Sequence[tuple[float, int]]) -> Scores:
        """What the bandit remembers."""
        return self.bandit.after(scores or ((),) * (1 + len(self.cautions)), new)

    def delivered(self, scores: Scores) -> Self:
        """With the caution that did best lately, and no other."""
        return replace(self, cautions=(self.cautions[self.bandit.best(scores) - 1],))

    def update(self, learner: Learner, batch: Transition, spec: Spec, train_actor: bool) -> tuple[Learner, Metrics]:
        """One step of the critics and, after burn-in, of the actor."""
        features = normalize(learner.normalizer, self.features(batch.observation, batch.base_action))
        next_features = normalize(learner.normalizer, self.features(batch.next_observation, batch.next_base_action))
        next_value = self._next_value(learner, next_features, batch.next_base_action)
        target = bounded_value(spec, batch.reward + batch.discount * next_value)

        def critic_loss(critics: MLP) -> tuple[Array, Array]:
            values = values_of(critics, features, self.composition.scored_of(batch))
            return jnp.square(values - target[None]).mean(axis=1).sum(), values.mean()

        def actor_loss(actor: MLP) -> Array:
            residual = residual_of(actor, features)
            values = values_of(learner.critics, features, self.composition.scored(batch.base_action, residual))
            return -values.mean()

        (loss, value), gradient = eqx.filter_value_and_grad(critic_loss, has_aux=True)(learner.critics)
        critics, critic_optimizer = descend(optax.adam(self.critic_rate), learner.critics, gradient, learner.critic_optimizer)
        actor, actor_optimizer = learner.actor, learner.actor_optimizer
        if train_actor:
            gradient = eqx.filter_grad(actor_loss)(actor)
            actor, actor_optimizer = descend(optax.adam(self.actor_rate), actor, gradient, actor_optimizer)
        learner = Learner(
            actor=actor,
            critics=critics,
            target_actor=follow(learner.target_actor, actor, self.target_rate),
            target_critics=follow(learner.target_critics, critics, self.target_rate),
            averaged_actor=follow(learner.averaged_actor, actor, self.average_rate),
            averaged_critics=follow(learner.averaged_critics, critics, self.average_rate),
            actor_optimizer=actor_optimizer,
            critic_optimizer=critic_optimizer,
            normalizer=learner.normalizer,
            updates=learner.updates + 1,
        )
        return learner, {"critic_loss": loss / self.num_critics, "mean_value": value}

    def _next_value(self, learner: Learner, features: Array, base_action: Array) -> Array:
        """The target critics' cautious value of what the gate would let act: `[B]`."""
        residual = residual_of(learner.target_actor, features)
        residual_values = values_of(learner.target_critics, features, self.composition.scored(base_action, residual))
        base_scored = self.composition.scored(base_action, jnp.zeros_like(residual))
        base_values = values_of(learner.target_critics, features, base_scored)
        open_ = self.gate(residual_values, base_values)
        values = jnp.where(open_, residual_values, base_values)
        return values.mean(axis=0) - self.pessimism * values.std(axis=0)
