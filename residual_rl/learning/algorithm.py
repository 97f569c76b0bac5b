"""What an algorithm is: hyperparameters in a frozen record, and pure functions over a learner that it alone understands.

A new algorithm is a file with a subclass of `Algorithm`, a frozen pydantic dataclass, and a row in `algorithms.ALGORITHMS`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from residual_rl.errors import ResidualRLError
from residual_rl.learning.bandit import Scores
from residual_rl.learning.burn_in import FixedBurnIn, ValueChangeBurnIn
from residual_rl.learning.exploration import EveryLane, Exploration, Roles
from residual_rl.learning.graph import Graph
from residual_rl.residual import Composition
from residual_rl.types import Acted, Array, Observation, Spec, Transition

Learner = Any
"""All that learning changes: a pytree of JAX arrays, which may be random keys. Its algorithm alone knows its form."""
Networks = Any
"""The part of a learner that acting needs, which is what a saved policy consists of: a pytree of arrays."""
Metrics = dict[str, Array]
Settings = Mapping[str, Array]
"""What acting depends on and compiled code does not: `"scale"`, `[]` or `[A]`, and the algorithm's own."""


class Algorithm(ABC):
    """A rule of learning. Its fields are its hyperparameters; it is its own configuration, and its own JSON.

    What must be written: `name`, `composition` and `burn_in` as fields, `init`, `act`, `update` and `acting`. All else has a
    default.
    """

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Any]]
    name: Any
    """A `Literal`, the key in `ALGORITHMS`."""
    composition: Composition
    """How base action and residual become the action."""
    burn_in: Any
    """A `FixedBurnIn` or `ValueChangeBurnIn`: when the actor starts to learn. The latter reads the metric `mean_value`."""
    steps: int = 1
    """Steps of an n-step return: so many rewards are in a transition that `update` is given, or fewer at an episode's end."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """Names of what `update` reports, which become columns of `metrics.csv`."""
    methods: ClassVar[tuple[str, ...]] = ("rpl", "scratch")
    """The methods by which it can learn."""

    @abstractmethod
    def init(self, spec: Spec, key: Array) -> Learner:
        """Return a learner whose residual is exactly zero."""

    @abstractmethod
    def act(
        self, networks: Networks, observation: Observation, base_action: Array, key: Array, roles: Roles, settings: Settings
    ) -> Acted:
        """Return the residual `[B, A]`, by what each row is for, and what `stored` names.

        Exactly zero for a fresh learner in rows that do not explore. What is scaled is scaled by `settings["scale"]`, not by
        the composition's own scale.
        """

    @abstractmethod
    def update(self, learner: Learner, batch: Transition, spec: Spec, key: Array, train_actor: bool) -> tuple[Learner, Metrics]:
        """Return the learner after a gradient step, and a number for each of `metrics`. All chance comes from the key."""

    @abstractmethod
    def acting(self, learner: Learner) -> Networks:
        """Return what acts while learning."""

    def averaged(self, learner: Learner) -> Networks:
        """Return what is evaluated and delivered: of the same form as `acting`."""
        return self.acting(learner)

    def count_in(self, learner: Learner, transitions: Transition) -> Learner:
        """Return the learner after it has seen new transitions `[B]`, each once: what a normalizer needs."""
        return learner

    def stored(self, spec: Spec) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Return shape and dtype, for one row, of what `act` stores with a step besides."""
        return {}

    def values(self, networks: Networks, observation: Observation, base_action: Array, residual: Array) -> Array | None:
        """Return what each critic says of a residual `[B, A]`: `[Q, B]`, for the diagnosis; None if there is none to ask."""
        return None

    def graph(self, networks: Networks) -> Graph:
        """Return the residual as a bundle holds it.

        Raises:
            ResidualRLError: no bundle can hold it; names the algorithm.
        """
        raise ResidualRLError(f"a bundle cannot hold what algorithm {self.name!r} learned: use the run itself, with `load`")

    @property
    def exploration(self) -> Exploration:
        """What the lanes of a training cycle are for."""
        return EveryLane()

    def delivered(self, scores: Scores) -> Self:
        """Return the rule by which the residual is evaluated and delivered: that of the exploration's best arm."""
        return self

    @property
    def knobs(self) -> Mapping[str, Any]:
        """What can be changed in a policy that was delivered, by name, with its present value."""
        return {}

    def tuned(self, **knobs: Any) -> Self:
        """Return the rule with other values of `knobs`.

        Raises:
            ResidualRLError: there is no such knob, or its value is out of range.
        """
        unknown = next(name for name in knobs)
        raise ResidualRLError(f"a policy of algorithm {self.name!r} has no {unknown} that could be set")

    @property
    def rule(self) -> Self:
        """The same for all that differ in their knobs alone: what `act` is compiled for."""
        return self

    def settings(self, scale: Any = None) -> Settings:
        """Return what `act` is given besides: the scale (None: the composition's), and the values of the knobs."""
        scale = self.composition.scale if scale is None else scale
        return {"scale": np.asarray(scale, np.float32)}

    def for_method(self, method: str) -> Self:
        """Return the rule for one of `methods`."""
        return self


BurnIn = FixedBurnIn | ValueChangeBurnIn


@partial(jax.jit, static_argnames=("algorithm", "spec"))
def init(algorithm: Algorithm, spec: Spec, key: Array) -> Learner:
    """`algorithm.init`, compiled as a whole and once, not operation by operation."""
    return algorithm.init(spec, key)


@partial(jax.jit, static_argnames="algorithm")
def act(
    algorithm: Algorithm,
    networks: Networks,
    observation: Observation,
    base_action: Array,
    key: Array,
    roles: Roles,
    settings: Settings,
) -> Acted:
    """`algorithm.act`, compiled. Give `algorithm.rule`, and it is compiled once for all values of the knobs."""
    return algorithm.act(networks, observation, base_action, key, roles, settings)


@partial(jax.jit, static_argnames="algorithm")
def values(
    algorithm: Algorithm, networks: Networks, observation: Observation, base_action: Array, residual: Array
) -> Array | None:
    """`algorithm.values`, compiled."""
    return algorithm.values(networks, observation, base_action, residual)


@partial(jax.jit, static_argnames="algorithm")
def count_in(algorithm: Algorithm, learner: Learner, transitions: Transition) -> Learner:
    """`algorithm.count_in`, compiled."""
    return algorithm.count_in(learner, transitions)


@partial(jax.jit, static_argnames=("algorithm", "spec", "train_actor"))
def update_many(
    algorithm: Algorithm, learner: Learner, batches: Transition, spec: Spec, key: Array, train_actor: bool
) -> tuple[Learner, Metrics]:
    """Return the learner after an update for each of the minibatches `[U, B]`, in one compiled scan; metrics are means.

    Raises:
        ResidualRLError: the algorithm reports other metrics than it says.
    """

    def one(carry: Learner, numbered: tuple[Array, Transition]) -> tuple[Learner, Metrics]:
        number, batch = numbered
        learner, metrics = algorithm.update(carry, batch, spec, jax.random.fold_in(key, number), train_actor)
        if set(metrics) != set(algorithm.metrics):
            raise ResidualRLError(
                f"algorithm {algorithm.name!r} says that its metrics are {sorted(algorithm.metrics)}, but `update` reports"
                f" {sorted(metrics)}"
            )
        return learner, metrics

    learner, metrics = jax.lax.scan(one, learner, (jnp.arange(len(batches.reward)), batches))
    return learner, {name: values.mean() for name, values in metrics.items()}
