"""The interface of an algorithm: hyperparameters in a frozen record, and pure functions over its own learner.

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
from residual_rl.learning.history import seen
from residual_rl.residual import Composition
from residual_rl.types import Acted, Array, Observation, Spec, Transition

Learner = Any
"""Everything that learning changes: a pytree of JAX arrays, random keys included. Only its algorithm knows its structure."""
Networks = Any
"""The part of a learner that acting needs, which is what a saved policy consists of: a pytree of arrays."""
Metrics = dict[str, Array]
Settings = Mapping[str, Array]
"""Traced inputs of `act`, which can change without recompilation: `"scale"`, `[]` or `[A]`, and the algorithm's own."""


class Algorithm(ABC):
    """A learning rule. Its fields are its hyperparameters, and they are its configuration in `config.json`.

    A subclass must define the fields `name`, `composition` and `burn_in` and the methods `init`, `act`, `update` and `acting`.
    Everything else has a default.
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
    """Steps of an n-step return: a transition passed to `update` sums this many rewards, fewer at an episode's end."""
    history: int = 1
    """Observations that the learner sees, joined in `observation["observation"]`: the present one and those before it, see
    `learning.history`. The replay keeps each once. Methods get a spec whose `observation_size` is that of them together."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """Names of the metrics that `update` returns; they become columns of `metrics.csv`."""
    methods: ClassVar[tuple[str, ...]] = ("rpl", "scratch")
    """The methods by which it can learn."""

    @abstractmethod
    def init(self, spec: Spec, key: Array) -> Learner:
        """Return a learner whose residual is exactly zero."""

    @abstractmethod
    def act(
        self, networks: Networks, observation: Observation, base_action: Array, key: Array, roles: Roles, settings: Settings
    ) -> Acted:
        """Return the residual `[B, A]` according to the role of each row, and the arrays that `stored` names.

        The residual of a fresh learner is exactly zero in rows that do not explore. Use `settings["scale"]`, not the
        composition's own scale.
        """

    @abstractmethod
    def update(self, learner: Learner, batch: Transition, spec: Spec, key: Array, train_actor: bool) -> tuple[Learner, Metrics]:
        """Return the learner after a gradient step, and a number for each of `metrics`. All randomness comes from the key."""

    @abstractmethod
    def acting(self, learner: Learner) -> Networks:
        """Return the networks that act during training."""

    def averaged(self, learner: Learner) -> Networks:
        """Return the networks that are evaluated and saved: the same structure as `acting`."""
        return self.acting(learner)

    def count_in(self, learner: Learner, transitions: Transition) -> Learner:
        """Return the learner after it has seen new transitions `[B]`, each once, for example to update a normalizer."""
        return learner

    def stored(self, spec: Spec) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Return shape and dtype, for one row, of the extra arrays that `act` returns and the replay stores."""
        return {}

    def values(self, networks: Networks, observation: Observation, base_action: Array, residual: Array) -> Array | None:
        """Return each critic's value of a residual `[B, A]`: `[Q, B]`, for the diagnosis; None if there are no critics."""
        return None

    def graph(self, networks: Networks) -> Graph:
        """Return the residual as a bundle holds it.

        Raises:
            ResidualRLError: no bundle can hold it; names the algorithm.
        """
        raise ResidualRLError(f"a bundle cannot hold what algorithm {self.name!r} learned: use the run itself, with `load`")

    @property
    def exploration(self) -> Exploration:
        """The rule that assigns roles to the lanes of a training cycle."""
        return EveryLane()

    def informed(self, learner: Learner, scores: Scores) -> Learner:
        """Return the learner after it has seen the scores of the latest episodes of each arm, once a cycle."""
        return learner

    def delivered(self, networks: Networks, scores: Scores) -> tuple[Self, Networks]:
        """Return the rule and the networks for evaluation and for the final policy: those of the exploration's best arm."""
        return self, networks

    @property
    def knobs(self) -> Mapping[str, Any]:
        """Settings that can be changed in a trained policy, by name, with their present values."""
        return {}

    def tuned(self, **knobs: Any) -> Self:
        """Return the rule with other values of `knobs`.

        Raises:
            ResidualRLError: there is no such knob, or its value is out of range.
        """
        unknown = next(name for name in knobs)
        raise ResidualRLError(f"a policy of algorithm {self.name!r} has no {unknown} that could be set")

    def without_base(self) -> Self:
        """Return the rule for steps in which the base has less than its full share, see `Composition.attenuation`."""
        return self

    @property
    def rule(self) -> Self:
        """The rule for which `act` is compiled: equal for all rules that differ only in their knobs."""
        return self

    def settings(self, scale: Any = None) -> Settings:
        """Return the traced inputs of `act`: the scale (None: the composition's) and the values of the knobs."""
        scale = self.composition.scale if scale is None else scale
        return {"scale": np.asarray(scale, np.float32)}

    def for_method(self, method: str) -> Self:
        """Return the rule for one of `methods`."""
        return self


BurnIn = FixedBurnIn | ValueChangeBurnIn


@partial(jax.jit, static_argnames=("algorithm", "spec"))
def init(algorithm: Algorithm, spec: Spec, key: Array) -> Learner:
    """`algorithm.init`, compiled as a whole and once, not operation by operation."""
    return new_learner(algorithm, spec, key)


def new_learner(algorithm: Algorithm, spec: Spec, key: Array) -> Learner:
    """Return a fresh learner for a task's spec, not compiled."""
    return algorithm.init(seen(spec, algorithm.history), key)


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
    """`algorithm.act`, compiled. With `algorithm.rule` it is compiled once for all values of the knobs."""
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
        ResidualRLError: `update` returns other metrics than the algorithm declares.
    """

    def one(carry: Learner, numbered: tuple[Array, Transition]) -> tuple[Learner, Metrics]:
        number, batch = numbered
        learner, metrics = algorithm.update(carry, batch, spec, jax.random.fold_in(key, number), train_actor)
        if set(metrics) != set(algorithm.metrics):
            raise ResidualRLError(
                f"algorithm {algorithm.name!r} declares the metrics {sorted(algorithm.metrics)}, but `update` reports"
                f" {sorted(metrics)}"
            )
        return learner, metrics

    learner, metrics = jax.lax.scan(one, learner, (jnp.arange(len(batches.reward)), batches))
    return learner, {name: values.mean() for name, values in metrics.items()}
