"""DDPG on the residual, as published: the learner of Silver et al. 2018."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from residual_rl.errors import ResidualRLError
from residual_rl.learning import normalizer as norm
from residual_rl.learning.actor_critic import METRICS, Learner, Networks, bounded_value, descend, follow, init_learner
from residual_rl.learning.algorithm import Algorithm, Metrics, Settings
from residual_rl.learning.averaged_frames import AveragedFrames
from residual_rl.learning.burn_in import FixedBurnIn, ValueChangeBurnIn
from residual_rl.learning.exploration import Roles
from residual_rl.learning.graph import Graph
from residual_rl.learning.networks import MLP, Hidden, residual_of, values_of
from residual_rl.learning.normalizer import normalize
from residual_rl.residual import SILVER2018, Composition
from residual_rl.types import Acted, Array, Observation, Spec, Transition


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ResidualAlone(Composition):
    """The controller only demonstrates: action = clip(scale * residual, -1, 1). Source: Silver et al. 2018."""

    adds_base: Literal[False] = False

    def alone(self, base_action: Array) -> Array:
        """Return zero: the base takes no part."""
        return 0.0 * base_action.clip(-1.0, 1.0)

    def unclipped(self, base_action: Array, residual: Array, scale: float | None = None) -> Array:
        """Return the scaled residual `[B, A]`."""
        return self._scale(residual, scale) * residual

    def residual(self, base_action: Array, action: Array) -> Array:
        """Return the residual that gives `action` if nothing was clipped: `[B, A], [B, A] -> [B, A]`."""
        return self._unscaled(action)


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class DDPG(Algorithm):
    """Deterministic policy gradient with one critic, Gaussian and uniform exploration.

    Source: Silver et al. 2018, section IV and appendix; where they differ, the published code. Differs: bootstrap targets are
    clipped to what the task's rewards allow, which on MBRLPusher has no lower bound, while the code clipped them to that of a
    reward of -1; and a full replay loses its oldest rows, not random episodes.
    """

    name: Literal["ddpg"] = "ddpg"
    """The key in `ALGORITHMS`."""
    composition: Composition | ResidualAlone = SILVER2018
    burn_in: Annotated[FixedBurnIn | ValueChangeBurnIn, Field(discriminator="rule")] = ValueChangeBurnIn()
    hidden: Hidden = (256, 256, 256)
    """Widths of the hidden layers of actor and critic."""
    frames: int = Field(default=1, ge=1, le=16)
    """Frames of which the environment makes an observation, such as NoisyHook's two. Actor and critic get one at a time and
    their outputs are averaged, as published. So they cannot compare frames."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's learning rate, for actor and critic."""
    target_rate: float = Field(default=0.05, gt=0, le=1)
    """The share of each step in the target networks."""
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

    metrics: ClassVar[tuple[str, ...]] = METRICS
    methods: ClassVar[tuple[str, ...]] = ("rpl", "scratch", "expert-explore")

    def init(self, spec: Spec, key: Array) -> Learner:
        """Return a learner whose residual is exactly zero.

        Raises:
            ResidualRLError: an observation is not made of so many frames.
        """
        feature_size = spec.observation_size + spec.goal_size
        if self.composition.actor_sees_base:
            feature_size += spec.action_size
        optimizer = optax.adam(self.learning_rate)
        return init_learner(spec, feature_size, self.hidden, 1, False, (optimizer, optimizer), key, self._network(spec))

    def _network(self, spec: Spec) -> Callable[..., MLP]:
        """Return what makes actor and critic."""
        if self.frames == 1:
            return MLP
        if spec.observation_size % self.frames:
            raise ResidualRLError(
                f"frames is {self.frames}, which an observation of {spec.observation_size} numbers is not made of"
            )
        return partial(AveragedFrames, number=self.frames, size=spec.observation_size // self.frames)

    def features(self, observation: Observation, base_action: Array) -> Array:
        """Return observation and desired goal, and the base action if the composition shows it: `[B, F]`."""
        parts = [observation["observation"], observation["desired_goal"]]
        if self.composition.actor_sees_base:
            parts.append(base_action)
        return jnp.concatenate(parts, axis=-1)

    def act(
        self, networks: Networks, observation: Observation, base_action: Array, key: Array, roles: Roles, settings: Settings
    ) -> Acted:
        """Return the actor's residual `[B, A]`; in rows that explore with Gaussian noise, drawn uniformly, or the controller's.

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
        return Acted(jnp.where(roles.explore[:, None], explored, residual), {})

    def acting(self, learner: Learner) -> Networks:
        """Return the networks that act during training."""
        return learner.current

    def averaged(self, learner: Learner) -> Networks:
        """Return the same networks: nothing is averaged."""
        return learner.averaged

    def count_in(self, learner: Learner, transitions: Transition) -> Learner:
        """Return the learner after its normalizer has seen these transitions."""
        features = self.features(transitions.observation, transitions.base_action)
        return learner._replace(normalizer=norm.add(learner.normalizer, features))

    def values(self, networks: Networks, observation: Observation, base_action: Array, residual: Array) -> Array:
        """Return the critic's value: `[1, B]`."""
        features = normalize(networks.normalizer, self.features(observation, base_action))
        return values_of(networks.critics, features, self.composition.scored(base_action, residual))

    def graph(self, networks: Networks) -> Graph:
        """Return the residual as a bundle holds it. Raises ResidualRLError if the base takes no part."""
        if isinstance(self.composition, ResidualAlone):
            raise ResidualRLError("a bundle adds a residual to a base, but in 'expert-explore' the base takes no part")
        features = ("observation", "desired_goal") + ("base_action",) * self.composition.actor_sees_base
        actor = networks.actor
        return Graph(actor.as_layers() if isinstance(actor, AveragedFrames) else actor, networks.normalizer, features)

    def for_method(self, method: str) -> Self:
        """Return the rule as it was published for a method.

        Without a base there is nothing to burn in for, and nothing to double. If the base takes no part in the sum, hindsight
        need not query it again.

        Source: Silver et al. 2018. Differs: in the published code epsilon is 0.3 to 0.6, by task and script.
        """
        if method == "rpl":
            return self
        composition = replace(self.composition, scale=1.0)
        rule = replace(self, burn_in=FixedBurnIn(cycles=0), composition=composition)
        if method == "scratch":
            return rule
        fields: dict[str, Any] = {name: getattr(composition, name) for name in Composition.__dataclass_fields__}
        fields["relabel"] = "keep"
        rule = replace(rule, composition=ResidualAlone(**fields))
        return rule if self.expert_ratio else replace(rule, random_ratio=0.6, expert_ratio=0.8)

    def update(self, learner: Learner, batch: Transition, spec: Spec, key: Array, train_actor: bool) -> tuple[Learner, Metrics]:
        """Take one step of critic and actor. A frozen actor's optimizer still moves on, as published."""
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
