"""DDPG whose residual acts only if an ensemble of critics agrees that it beats the base: the recommended learner.

For each state and each critic i of an ensemble, the advantage of the residual action over the base action is

    d_i = Q_i(s, clip(b + scale f(s))) - Q_i(s, b)

The gate is open if `mean_i d_i > caution * std_i d_i`. Comparing member by member cancels the errors that the members share, so
the gate opens early in states where the residual is clearly better and stays shut in states that are unknown. If it is shut,
exactly the base acts. The same rule chooses the next action in the bootstrap target, so the critics value the policy that acts.

How large the residual may be and how sure the critics must be differ between tasks, and are chosen by measurement: there are
several actors, and the bandit drives training episodes with each of them at each of its cautions.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from residual_rl.errors import ResidualRLError
from residual_rl.learning import normalizer as norm
from residual_rl.learning.actor_critic import METRICS, Networks, bounded_value, descend, follow
from residual_rl.learning.actors import (
    MOST_CAUTION,
    NO_GATE,
    Actor,
    Caution,
    alone,
    arms_of,
    descend_member,
    member,
    of_arm,
    optimizer,
    residuals_of,
    stacked,
    whose_turn,
)
from residual_rl.learning.algorithm import Algorithm, Metrics, Settings
from residual_rl.learning.bandit import Bandit, Scores
from residual_rl.learning.burn_in import FixedBurnIn
from residual_rl.learning.exploration import BanditLanes, Roles
from residual_rl.learning.graph import Gate, Graph
from residual_rl.learning.networks import MLP, Hidden, make_actor, make_critics, residual_of, values_of
from residual_rl.learning.normalizer import Normalizer, normalize
from residual_rl.residual import Composition
from residual_rl.types import Acted, Array, Observation, Spec, Transition

DEFAULT_ACTORS = (Actor(rate=1e-4, penalty=10.0, cautions=(3.0,), turns=1), Actor(rate=1e-3, cautions=(3.0, 0.5), turns=3))


class GatedLearner(NamedTuple):
    """Everything that learning changes. All actors are one tree with a leading axis [N], all critics one with [Q]."""

    actor: MLP
    critics: MLP
    target_actor: MLP
    target_critics: MLP
    averaged_actor: MLP
    """Averages over recent updates."""
    averaged_critics: MLP
    actor_optimizer: optax.OptState
    critic_optimizer: optax.OptState
    normalizer: Normalizer
    leader: Array
    """[] int32, the actor that chooses the next action in the bootstrap target."""
    updates: Array
    """[] int32"""

    @property
    def current(self) -> Networks:
        """The networks that act during training: all actors."""
        return Networks(self.actor, self.critics, self.normalizer)

    @property
    def averaged(self) -> Networks:
        """The networks of which one actor is evaluated and saved."""
        return Networks(self.averaged_actor, self.averaged_critics, self.normalizer)


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class GatedDDPG(Algorithm):
    """Residual DDPG with the paired-advantage gate, LayerNorm critics and sparse exploration."""

    name: Literal["gated-ddpg"] = "gated-ddpg"
    """The key in `ALGORITHMS`."""
    composition: Composition = Composition()
    burn_in: FixedBurnIn = FixedBurnIn()
    hidden: Hidden = (256, 256)
    """Widths of the hidden layers of actor and critics."""
    history: int = Field(default=1, ge=1, le=16)
    """Observations that actor and critics see: the present one and those before it. More than one if a single one does not show
    everything, such as a velocity."""
    num_critics: int = Field(default=3, ge=2, le=64)
    """Members of the ensemble of critics."""
    actors: Annotated[tuple[Actor, ...], Field(min_length=1, max_length=8)] = DEFAULT_ACTORS
    """Actors over the same critics. The bandit tries each with each of its cautions in training episodes; the arm that exceeds
    the base most surely is evaluated and delivered, and its actor chooses the next action in the bootstrap target."""
    pessimism: float = Field(default=1.0, ge=0)
    """Standard deviations by which a bootstrap target stays below the critics' mean. If critics disagree, some overestimate,
    and the target would propagate that. Source: Fujimoto et al. 2018, who take the lesser of two."""
    critic_rate: float = Field(default=1e-3, gt=0)
    """Adam's learning rate of the critics."""
    target_rate: float = Field(default=0.02, gt=0, le=1)
    """The share of each update in the target networks."""
    average_rate: float = Field(default=0.001, gt=0, le=1)
    """Share of each update in the averaged networks, which are evaluated and saved. Single updates of the critics make the gate
    flicker: useful variety during training, harmful afterwards."""
    bandit: Bandit = Bandit()
    exploring_ratio: float = Field(default=0.25, ge=0, le=1)
    """Share of all lanes that explores: among those that base plus residual drives, at most half of them. The others measure
    it without noise, and only they count for the bandit."""
    noise: float = Field(default=0.5, ge=0)
    """Standard deviation of the Gaussian noise on the residual, in the steps with noise."""
    noise_ratio: float = Field(default=0.15, ge=0, le=1)
    """Share of steps with Gaussian noise. Rare: a base may need many undisturbed steps in a row to succeed."""
    random_ratio: float = Field(default=0.02, ge=0, le=1)
    """Share of steps whose residual is drawn uniformly instead."""

    metrics: ClassVar[tuple[str, ...]] = METRICS

    @property
    def exploration(self) -> BanditLanes:
        """The bandit has an arm for the base, and one for each caution of each actor."""
        return BanditLanes(self.bandit, len(arms_of(self.actors).actor), self.exploring_ratio)

    @property
    def caution(self) -> Caution:
        """The first actor's first caution: the only one of a selected policy."""
        return self.actors[0].cautions[0]

    def init(self, spec: Spec, key: Array) -> GatedLearner:
        """Return a learner whose residual is exactly zero."""
        feature_size = spec.observation_size + 2 * spec.goal_size
        if self.composition.actor_sees_base:
            feature_size += spec.action_size
        actor_key, critic_key = jax.random.split(key)
        actor = make_actor(feature_size, spec.action_size, self.hidden, key=actor_key)
        actors = stacked(actor, len(self.actors))
        critics = make_critics(self.num_critics, feature_size + spec.action_size, self.hidden, True, key=critic_key)
        return GatedLearner(
            actor=actors,
            critics=critics,
            target_actor=actors,
            target_critics=critics,
            averaged_actor=actors,
            averaged_critics=critics,
            actor_optimizer=stacked(optimizer().init(eqx.filter(actor, eqx.is_array)), len(self.actors)),
            critic_optimizer=optax.adam(self.critic_rate).init(eqx.filter(critics, eqx.is_array)),
            normalizer=norm.empty(feature_size),
            leader=jnp.zeros((), jnp.int32),
            updates=jnp.zeros((), jnp.int32),
        )

    def features(self, observation: Observation, base_action: Array) -> Array:
        """Return observation, desired goal, desired minus achieved goal, and the base action if it is shown: `[B, F]`."""
        to_goal = observation["desired_goal"] - observation["achieved_goal"]
        parts = [observation["observation"], observation["desired_goal"], to_goal]
        if self.composition.actor_sees_base:
            parts.append(base_action)
        return jnp.concatenate(parts, axis=-1)

    def gate(self, residual_values: Array, base_values: Array, caution: Array) -> Array:
        """Return whether the residual acts, given each critic's value of it and of the base: `[Q, B], [Q, B] -> [B]` bool.

        `caution` `[]` or `[B]` is a number; `NO_GATE` opens the gate everywhere.
        """
        advantage = residual_values - base_values
        mean, deviation = advantage.mean(axis=0), advantage.std(axis=0)
        return (mean > caution * deviation) | (caution == NO_GATE)

    def settings(self, scale: Any = None) -> Settings:
        """Return the traced inputs of `act`: scale and cautions."""
        return {**super().settings(scale), "cautions": arms_of(self.actors).caution}

    def without_base(self) -> Self:
        """Return the rule without a gate and penalties: what they lead back to is not the controller any more."""
        return replace(
            self, actors=tuple(replace(actor, penalty=0.0, cautions=(None,) * len(actor.cautions)) for actor in self.actors)
        )

    @property
    def rule(self) -> Self:
        """The rule with neutral actors: equal for all rules with the same numbers of actors and cautions."""
        return replace(self, actors=tuple(Actor(cautions=(0.0,) * len(actor.cautions)) for actor in self.actors))

    @property
    def knobs(self) -> Mapping[str, Any]:
        """The caution: how sure the critics must be before the residual acts."""
        return {"caution": self.caution}

    def tuned(self, **knobs: Any) -> Self:
        """Return the rule of a selected policy with another caution.

        Raises:
            ResidualRLError: there is no such knob, or its value is out of range.
        """
        if knobs.keys() != {"caution"}:
            return super().tuned(**{name: value for name, value in knobs.items() if name != "caution"})
        try:
            return replace(self, actors=tuple(replace(actor, cautions=(knobs["caution"],)) for actor in self.actors))
        except ValidationError as error:
            raise ResidualRLError(
                f"caution must be None or a number from 0 to {MOST_CAUTION:g}, not {knobs['caution']!r}"
            ) from error

    def act(
        self, networks: Networks, observation: Observation, base_action: Array, key: Array, roles: Roles, settings: Settings
    ) -> Acted:
        """Return the actor's residual `[B, A]` if it drives and the gate is open, else exactly 0; exploring rows add noise."""
        features = normalize(networks.normalizer, self.features(observation, base_action))
        arm, scale = jnp.maximum(roles.arm - 1, 0), settings["scale"]
        actor = jnp.asarray(arms_of(self.actors).actor)[arm]
        residual = jnp.take_along_axis(residuals_of(networks.actor, features), actor[None, :, None], axis=0)[0]
        open_ = self.gate(
            values_of(networks.critics, features, self.composition.scored(base_action, residual, scale)),
            values_of(networks.critics, features, self.composition.scored(base_action, jnp.zeros_like(residual), scale)),
            settings["cautions"][arm],
        )
        residual = jnp.where((open_ & (roles.arm > 0))[:, None], residual, 0.0)
        noise_key, uniform_key, choice_key = jax.random.split(key, 3)
        noisy = (residual + self.noise * jax.random.normal(noise_key, residual.shape)).clip(-1.0, 1.0)
        uniform = jax.random.uniform(uniform_key, residual.shape, minval=-1.0, maxval=1.0)
        choice = jnp.where(roles.explore, jax.random.uniform(choice_key, roles.explore.shape), 1.0)[:, None]
        explored = jnp.where(choice < self.random_ratio + self.noise_ratio, noisy, residual)
        return Acted(jnp.where(choice < self.random_ratio, uniform, explored), {})

    def acting(self, learner: GatedLearner) -> Networks:
        """Return the networks that act during training: all actors."""
        return learner.current

    def averaged(self, learner: GatedLearner) -> Networks:
        """Return the networks that are evaluated and saved: averages over recent updates."""
        return learner.averaged

    def count_in(self, learner: GatedLearner, transitions: Transition) -> GatedLearner:
        """Return the learner after its normalizer has seen these transitions."""
        features = self.features(transitions.observation, transitions.base_action)
        return learner._replace(normalizer=norm.add(learner.normalizer, features))

    def informed(self, learner: GatedLearner, scores: Scores) -> GatedLearner:
        """Return the learner whose bootstrap target follows the actor of the best arm."""
        actor, _ = of_arm(self.actors, self.exploration.best(scores))
        return learner._replace(leader=jnp.asarray(actor, jnp.int32))

    def delivered(self, networks: Networks, scores: Scores) -> tuple[Self, Networks]:
        """Return the rule and the networks of the best arm: one actor, with one caution."""
        number, caution = of_arm(self.actors, self.exploration.best(scores))
        rule = replace(self, actors=(replace(self.actors[number], cautions=(caution,)),))
        return rule, networks._replace(actor=alone(networks.actor, number))

    def values(self, networks: Networks, observation: Observation, base_action: Array, residual: Array) -> Array:
        """Return each critic's value of a residual `[B, A]`: `[Q, B]`."""
        features = normalize(networks.normalizer, self.features(observation, base_action))
        return values_of(networks.critics, features, self.composition.scored(base_action, residual))

    def graph(self, networks: Networks) -> Graph:
        """Return the residual as a bundle holds it."""
        features = ("observation", "desired_goal", "to_goal") + ("base_action",) * self.composition.actor_sees_base
        return Graph(member(networks.actor, 0), networks.normalizer, features, Gate(networks.critics, self.caution))

    def update(
        self, learner: GatedLearner, batch: Transition, spec: Spec, key: Array, train_actor: bool
    ) -> tuple[GatedLearner, Metrics]:
        """Take one step of the critics and, after burn-in, of the actor whose turn it is."""
        features = normalize(learner.normalizer, self.features(batch.observation, batch.base_action))
        next_features = normalize(learner.normalizer, self.features(batch.next_observation, batch.next_base_action))
        next_value = self._next_value(learner, next_features, batch.next_base_action)
        target = bounded_value(spec, batch.reward + batch.discount * next_value)

        def critic_loss(critics: MLP) -> tuple[Array, Array]:
            values = values_of(critics, features, self.composition.scored_of(batch))
            return jnp.square(values - target[None]).mean(axis=1).sum(), values.mean()

        (loss, value), gradient = eqx.filter_value_and_grad(critic_loss, has_aux=True)(learner.critics)
        critics, critic_optimizer = descend(optax.adam(self.critic_rate), learner.critics, gradient, learner.critic_optimizer)
        actor, actor_optimizer = learner.actor, learner.actor_optimizer
        if train_actor:
            actor, actor_optimizer = self._descend_actor(learner, features, batch.base_action)
        learner = GatedLearner(
            actor=actor,
            critics=critics,
            target_actor=follow(learner.target_actor, actor, self.target_rate),
            target_critics=follow(learner.target_critics, critics, self.target_rate),
            averaged_actor=follow(learner.averaged_actor, actor, self.average_rate),
            averaged_critics=follow(learner.averaged_critics, critics, self.average_rate),
            actor_optimizer=actor_optimizer,
            critic_optimizer=critic_optimizer,
            normalizer=learner.normalizer,
            leader=learner.leader,
            updates=learner.updates + 1,
        )
        return learner, {"critic_loss": loss / self.num_critics, "mean_value": value}

    def _descend_actor(self, learner: GatedLearner, features: Array, base_action: Array) -> tuple[MLP, optax.OptState]:
        """Take one step of the actor whose turn it is: return all actors and their optimizers' states."""
        number = whose_turn(self.actors, learner.updates)
        penalty, rate = (jnp.asarray([getattr(actor, name) for actor in self.actors])[number] for name in ("penalty", "rate"))

        def actor_loss(actor: MLP) -> Array:
            residual = residual_of(actor, features)
            values = values_of(learner.critics, features, self.composition.scored(base_action, residual))
            return penalty * jnp.square(residual).sum(axis=1).mean() - values.mean()

        gradient = eqx.filter_grad(actor_loss)(member(learner.actor, number))
        return descend_member(learner.actor, learner.actor_optimizer, number, gradient, rate)

    def _next_value(self, learner: GatedLearner, features: Array, base_action: Array) -> Array:
        """Return the target critics' pessimistic value of the action that passes the leader's gate: `[B]`."""
        residual = residual_of(member(learner.target_actor, learner.leader), features)
        residual_values = values_of(learner.target_critics, features, self.composition.scored(base_action, residual))
        base_scored = self.composition.scored(base_action, jnp.zeros_like(residual))
        base_values = values_of(learner.target_critics, features, base_scored)
        arms = arms_of(self.actors)
        first = np.array([arms.caution[arms.actor == number][0] for number in range(len(self.actors))])
        open_ = self.gate(residual_values, base_values, jnp.asarray(first)[learner.leader])
        values = jnp.where(open_, residual_values, base_values)
        return values.mean(axis=0) - self.pessimism * values.std(axis=0)
