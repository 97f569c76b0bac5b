"""What an algorithm is: hyperparameters in a frozen record, and pure functions over one learner."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Protocol, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from residual_rl.errors import ResidualRLError
from residual_rl.learning import normalizer as norm
from residual_rl.learning.bandit import Scores
from residual_rl.learning.burn_in import FixedBurnIn, ValueChangeBurnIn
from residual_rl.learning.networks import MLP, Frames, make_actor, make_critics, values_of
from residual_rl.learning.normalizer import Normalizer, normalize
from residual_rl.residual import Composition
from residual_rl.types import Array, Observation, Spec, Transition

Metrics = dict[str, Array]


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
    """Over recent updates; or no average at all, as the algorithm says."""
    averaged_critics: MLP
    actor_optimizer: optax.OptState
    critic_optimizer: optax.OptState
    normalizer: Normalizer
    updates: Array
    """[] int32"""

    @property
    def current(self) -> Networks:
        """What acts while learning."""
        return Networks(self.actor, self.critics, self.normalizer)

    @property
    def averaged(self) -> Networks:
        """What is evaluated and delivered."""
        return Networks(self.averaged_actor, self.averaged_critics, self.normalizer)


class Roles(NamedTuple):
    """What each lane is for."""

    explore: Array
    """[E] bool, whether its actions are disturbed."""
    arm: Array
    """[E] int, who drives it: 0 is the base, 1 base plus residual; where there are several cautions, that of this number."""


class Algorithm(Protocol):
    """A rule of learning. Its fields are its hyperparameters; it is its own configuration."""

    @property
    def composition(self) -> Composition:
        """How base action and residual become the action."""
        ...

    @property
    def burn_in(self) -> FixedBurnIn | ValueChangeBurnIn:
        """When the actor starts to learn."""
        ...

    def init(self, spec: Spec, key: Array) -> Learner:
        """A learner whose residual is exactly zero."""
        ...

    def features(self, observation: Observation, base_action: Array) -> Array:
        """What the networks see, before it is normalised: `[B, F]`."""
        ...

    def act(self, networks: Networks, observation: Observation, base_action: Array, key: Array, roles: Roles) -> Array:
        """Residual `[B, A]`, by what each row is for."""
        ...

    def update(self, learner: Learner, batch: Transition, spec: Spec, train_actor: bool) -> tuple[Learner, Metrics]:
        """One gradient step."""
        ...

    def roles(self, rng: np.random.Generator, num_envs: int, burn_in: bool, scores: Scores) -> Roles:
        """What each lane is for in the next cycle, which may depend on what the latest episodes were worth."""
        ...

    def after(self, scores: Scores, new: Sequence[tuple[float, int]]) -> Scores:
        """The scores after other episodes, each with the arm that drove it. Here alone they may be `()`, before the first."""
        ...

    def delivered(self, scores: Scores) -> Self:
        """The rule by which the residual is evaluated and delivered; it may depend on what the latest episodes were worth."""
        ...


def init_learner(
    spec: Spec,
    feature_size: int,
    hidden: tuple[int, ...],
    num_critics: int,
    layer_norm: bool,
    optimizers: tuple[optax.GradientTransformation, optax.GradientTransformation],
    key: Array,
    frames: int = 1,
) -> Learner:
    """Fresh networks, their targets, and the state of the actor's and the critics' optimizer.

    Raises:
        ResidualRLError: an observation is not made of so many frames.
    """
    if spec.observation_size % frames:
        raise ResidualRLError(f"frames is {frames}, which an observation of {spec.observation_size} numbers is not made of")
    shown = Frames(frames, spec.observation_size // frames)
    actor_key, critic_key = jax.random.split(key)
    actor = make_actor(feature_size, spec.action_size, hidden, shown, key=actor_key)
    critics = make_critics(num_critics, feature_size + spec.action_size, hidden, layer_norm, shown, key=critic_key)
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
    """One step of an optimizer: the new network and the optimizer's new state."""
    change, state = optimizer.update(gradient, state, network)  # type: ignore[arg-type]
    return eqx.apply_updates(network, change), state


def follow(target: MLP, network: MLP, rate: Array | float) -> MLP:
    """The target network, moved towards the network: `(1 - rate) target + rate network`."""
    return optax.incremental_update(network, target, rate)  # type: ignore[arg-type]


def bounded_value(spec: Spec, value: Array) -> Array:
    """A bootstrap target, clipped to the discounted sums that are possible. Source: Andrychowicz et al. 2017."""
    horizon = 1.0 / (1.0 - spec.discount)
    low, high = spec.reward_range
    return value.clip(horizon * min(low, 0.0), horizon * max(high, 0.0))


@partial(jax.jit, static_argnames=("algorithm", "spec"))
def init(algorithm: Algorithm, spec: Spec, key: Array) -> Learner:
    """`algorithm.init`, compiled as a whole and once, not operation by operation."""
    return algorithm.init(spec, key)


@partial(jax.jit, static_argnames="algorithm")
def act(
    algorithm: Algorithm, networks: Networks, observation: Observation, base_action: Array, key: Array, roles: Roles
) -> Array:
    """`algorithm.act`, compiled."""
    return algorithm.act(networks, observation, base_action, key, roles)


def greedy(rows: int) -> Roles:
    """Rows in which nothing is explored: what is evaluated and delivered."""
    return Roles(explore=np.zeros(rows, dtype=bool), arm=np.ones(rows, dtype=np.int32))


@partial(jax.jit, static_argnames="algorithm")
def values(algorithm: Algorithm, networks: Networks, observation: Observation, base_action: Array, residual: Array) -> Array:
    """What each critic says of a residual `[B, A]`: `[Q, B]`."""
    features = normalize(networks.normalizer, algorithm.features(observation, base_action))
    return values_of(networks.critics, features, algorithm.composition.scored(base_action, residual))


@partial(jax.jit, static_argnames="algorithm")
def count_in(algorithm: Algorithm, learner: Learner, transitions: Transition) -> Learner:
    """The learner after its normalizer has seen these transitions `[B]`."""
    features = algorithm.features(transitions.observation, transitions.base_action)
    return learner._replace(normalizer=norm.add(learner.normalizer, features))


@partial(jax.jit, static_argnames=("algorithm", "spec", "train_actor"))
def update_many(
    algorithm: Algorithm, learner: Learner, batches: Transition, spec: Spec, train_actor: bool
) -> tuple[Learner, Metrics]:
    """One update for each of the minibatches `[U, B]`, in one compiled scan; metrics are their means."""

    def one(carry: Learner, batch: Transition) -> tuple[Learner, Metrics]:
        return algorithm.update(carry, batch, spec, train_actor)

    learner, metrics = jax.lax.scan(one, learner, batches)
    return learner, {name: values.mean() for name, values in metrics.items()}
