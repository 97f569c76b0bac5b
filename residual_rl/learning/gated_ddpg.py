"""DDPG whose residual acts only if an ensemble of critics agrees that it beats the base: the recommended learner.

For each state and each critic i of an ensemble, the advantage of the residual action over the base action is

    d_i = Q_i(s, clip(b + scale f(s))) - Q_i(s, b)

The gate is open if `mean_i d_i > caution * std_i d_i`. Comparing member by member cancels the errors that the members share, so
the gate opens early in states where the residual is clearly better and stays shut in states that are unknown. If it is shut,
exactly the base acts. The same rule chooses the next action in the bootstrap target, so the critics value the policy that acts.

The caution is chosen by measurement: the bandit drives training episodes with each of several.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from residual_rl.errors import ResidualRLError
from residual_rl.learning import normalizer as norm
from residual_rl.learning.actor_critic import METRICS, Learner, Networks, bounded_value, descend, follow, init_learner
from residual_rl.learning.algorithm import Algorithm, Metrics, Settings
from residual_rl.learning.bandit import Bandit, Scores
from residual_rl.learning.burn_in import FixedBurnIn
from residual_rl.learning.exploration import BanditLanes, Roles
from residual_rl.learning.graph import Gate, Graph
from residual_rl.learning.networks import MLP, Hidden, residual_of, values_of
from residual_rl.learning.normalizer import normalize
from residual_rl.residual import Composition
from residual_rl.types import Acted, Array, Observation, Spec, Transition

MOST_CAUTION = 1e6
FIRST_CAUTION = 1  # the arm that has the first of `cautions`; arm 0 is the base
NO_GATE = -float("inf")  # a caution of None, as a number
Caution = Annotated[float, Field(ge=0, le=MOST_CAUTION)] | None


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
    cautions: Annotated[tuple[Caution, ...], Field(min_length=1, max_length=8)] = (3.0, 0.5)
    """Standard deviations by which the mean advantage must exceed zero before the residual acts. The bandit tries each in
    training episodes, and the selected policy has the one with the best recent scores; the bootstrap target uses the first.
    With 0 the critics' mean decides, however much they disagree; None is no gate: the residual acts everywhere."""
    pessimism: float = Field(default=1.0, ge=0)
    """Standard deviations by which a bootstrap target stays below the critics' mean. If critics disagree, some overestimate,
    and the target would propagate that. Source: Fujimoto et al. 2018, who take the lesser of two."""
    actor_rate: float = Field(default=3e-5, gt=0)
    """Adam's learning rate of the actor: slow, so that the critics keep up with it."""
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
    it without noise; all count for the bandit."""
    noise: float = Field(default=0.5, ge=0)
    """Standard deviation of the Gaussian noise on the residual, in the steps with noise."""
    noise_ratio: float = Field(default=0.15, ge=0, le=1)
    """Share of steps with Gaussian noise. Rare: a base may need many undisturbed steps in a row to succeed."""
    random_ratio: float = Field(default=0.02, ge=0, le=1)
    """Share of steps whose residual is drawn uniformly instead."""

    metrics: ClassVar[tuple[str, ...]] = METRICS

    @property
    def exploration(self) -> BanditLanes:
        """The bandit has an arm for the base, and one for each of `cautions`."""
        return BanditLanes(self.bandit, len(self.cautions), self.exploring_ratio)

    @property
    def caution(self) -> float | None:
        """The first of `cautions`: the bootstrap target's, and the only one of a selected policy."""
        return self.cautions[0]

    def init(self, spec: Spec, key: Array) -> Learner:
        """Return a learner whose residual is exactly zero."""
        feature_size = spec.observation_size + 2 * spec.goal_size
        if self.composition.actor_sees_base:
            feature_size += spec.action_size
        optimizers = (optax.adam(self.actor_rate), optax.adam(self.critic_rate))
        return init_learner(spec, feature_size, self.hidden, self.num_critics, True, optimizers, key)

    def features(self, observation: Observation, base_action: Array) -> Array:
        """Return observation, desired goal, desired minus achieved goal, and the base action if it is shown: `[B, F]`."""
        to_goal = observation["desired_goal"] - observation["achieved_goal"]
        parts = [observation["observation"], observation["desired_goal"], to_goal]
        if self.composition.actor_sees_base:
            parts.append(base_action)
        return jnp.concatenate(parts, axis=-1)

    def gate(
        self, residual_values: Array, base_values: Array, arm: Array | int = FIRST_CAUTION, cautions: Array | None = None
    ) -> Array:
        """Return whether the residual acts, given each critic's value of it and of the base: `[Q, B], [Q, B], [B] -> [B]` bool.

        `cautions` `[K]` are those of the arms 1 to K; they replace the rule's own.
        """
        advantage = residual_values - base_values
        mean, deviation = advantage.mean(axis=0), advantage.std(axis=0)
        cautions = jnp.asarray(self._cautions() if cautions is None else cautions)
        caution = cautions[jnp.clip(jnp.asarray(arm) - 1, 0, len(cautions) - 1)]
        return (jnp.asarray(arm) > 0) & ((mean > caution * deviation) | (caution == NO_GATE))

    def _cautions(self) -> np.ndarray:
        """Return the cautions as numbers: `[K]` float32."""
        return np.array([NO_GATE if caution is None else caution for caution in self.cautions], np.float32)

    def settings(self, scale: Any = None) -> Settings:
        """Return the traced inputs of `act`: scale and cautions."""
        return {**super().settings(scale), "cautions": self._cautions()}

    def without_base(self) -> Self:
        """Return the rule without a gate: what it would fall back to is not the controller any more."""
        return replace(self, cautions=(None,) * len(self.cautions))

    @property
    def rule(self) -> Self:
        """The rule with neutral cautions: equal for all rules with the same number of cautions."""
        return replace(self, cautions=(0.0,) * len(self.cautions))

    @property
    def knobs(self) -> Mapping[str, Any]:
        """The caution: how sure the critics must be before the residual acts."""
        return {"caution": self.caution}

    def tuned(self, **knobs: Any) -> Self:
        """Return the rule with another caution.

        Raises:
            ResidualRLError: there is no such knob, or its value is out of range.
        """
        if knobs.keys() != {"caution"}:
            return super().tuned(**{name: value for name, value in knobs.items() if name != "caution"})
        try:
            return replace(self, cautions=(knobs["caution"],))
        except ValidationError as error:
            raise ResidualRLError(
                f"caution must be None or a number from 0 to {MOST_CAUTION:g}, not {knobs['caution']!r}"
            ) from error

    def act(
        self, networks: Networks, observation: Observation, base_action: Array, key: Array, roles: Roles, settings: Settings
    ) -> Acted:
        """Return the actor's residual `[B, A]` if it drives and the gate is open, else exactly 0; exploring rows add noise."""
        features = normalize(networks.normalizer, self.features(observation, base_action))
        residual, scale = residual_of(networks.actor, features), settings["scale"]
        open_ = self.gate(
            values_of(networks.critics, features, self.composition.scored(base_action, residual, scale)),
            values_of(networks.critics, features, self.composition.scored(base_action, jnp.zeros_like(residual), scale)),
            roles.arm,
            settings["cautions"],
        )
        residual = jnp.where(open_[:, None], residual, 0.0)
        noise_key, uniform_key, choice_key = jax.random.split(key, 3)
        noisy = (residual + self.noise * jax.random.normal(noise_key, residual.shape)).clip(-1.0, 1.0)
        uniform = jax.random.uniform(uniform_key, residual.shape, minval=-1.0, maxval=1.0)
        choice = jnp.where(roles.explore, jax.random.uniform(choice_key, roles.explore.shape), 1.0)[:, None]
        explored = jnp.where(choice < self.random_ratio + self.noise_ratio, noisy, residual)
        return Acted(jnp.where(choice < self.random_ratio, uniform, explored), {})

    def acting(self, learner: Learner) -> Networks:
        """Return the networks that act during training."""
        return learner.current

    def averaged(self, learner: Learner) -> Networks:
        """Return the networks that are evaluated and saved: averages over recent updates."""
        return learner.averaged

    def count_in(self, learner: Learner, transitions: Transition) -> Learner:
        """Return the learner after its normalizer has seen these transitions."""
        features = self.features(transitions.observation, transitions.base_action)
        return learner._replace(normalizer=norm.add(learner.normalizer, features))

    def delivered(self, scores: Scores) -> Self:
        """Return the rule with only the caution that has the best recent scores."""
        return replace(self, cautions=(self.cautions[self.exploration.best(scores) - 1],))

    def values(self, networks: Networks, observation: Observation, base_action: Array, residual: Array) -> Array:
        """Return each critic's value of a residual `[B, A]`: `[Q, B]`."""
        features = normalize(networks.normalizer, self.features(observation, base_action))
        return values_of(networks.critics, features, self.composition.scored(base_action, residual))

    def graph(self, networks: Networks) -> Graph:
        """Return the residual as a bundle holds it."""
        features = ("observation", "desired_goal", "to_goal") + ("base_action",) * self.composition.actor_sees_base
        return Graph(networks.actor, networks.normalizer, features, Gate(networks.critics, self.caution))

    def update(self, learner: Learner, batch: Transition, spec: Spec, key: Array, train_actor: bool) -> tuple[Learner, Metrics]:
        """Take one step of the critics and, after burn-in, of the actor."""
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
        """Return the target critics' pessimistic value of the action that passes the gate: `[B]`."""
        residual = residual_of(learner.target_actor, features)
        residual_values = values_of(learner.target_critics, features, self.composition.scored(base_action, residual))
        base_scored = self.composition.scored(base_action, jnp.zeros_like(residual))
        base_values = values_of(learner.target_critics, features, base_scored)
        open_ = self.gate(residual_values, base_values)
        values = jnp.where(open_, residual_values, base_values)
        return values.mean(axis=0) - self.pessimism * values.std(axis=0)
