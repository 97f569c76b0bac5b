"""What is left when learning is over: a base, a residual, and the verdict on whether the residual acts."""

import equinox as eqx
import jax
import numpy as np

from residual_rl.controllers import Controller
from residual_rl.evaluation import Act, base_alone
from residual_rl.learning.algorithm import Algorithm, Networks, act
from residual_rl.learning.serialization import from_arrays
from residual_rl.residual import Composition
from residual_rl.rollout import base_policy
from residual_rl.types import Observation, Spec, map_observation, without_state


class Residual:
    """A learned residual that no longer changes: `Observation[B], base_action [B, A] -> residual [B, A]`."""

    def __init__(self, algorithm: Algorithm, networks: Networks):
        self.algorithm = algorithm
        self.networks = networks
        self._key = jax.random.key(0)  # without exploration no chance is involved

    def __call__(self, observation: Observation, base_action: np.ndarray) -> np.ndarray:
        """What the learner adds, in [-1, 1]."""
        no_row = np.zeros(len(base_action), dtype=bool)
        return np.asarray(act(self.algorithm, self.networks, without_state(observation), base_action, self._key, no_row))


def base_plus_residual(controller: Controller, composition: Composition, residual: Residual, action_size: int) -> Act:
    """Controller and residual as one policy."""
    base = base_policy(controller, composition, action_size)

    def policy(observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        base_action = base(observation)
        return base_action, composition.action(base_action, residual(observation, base_action))

    return policy


def restore_residual(algorithm: Algorithm, spec: Spec, arrays: dict[str, np.ndarray], source: str) -> Residual:
    """The residual whose networks were saved as named arrays.

    Raises:
        RunError: an array is missing or of the wrong form; names `source`.
    """
    shapes = eqx.filter_eval_shape(lambda key: algorithm.init(spec, key).averaged, jax.random.key(0))
    return Residual(algorithm, from_arrays(shapes, arrays, "networks", source))


class Policy:
    """A base and, where the verdict promoted it, a residual: `observation -> action`.

    Takes one observation, `{"observation": [O], ...} -> [A]`, or a batch, `{"observation": [B, O], ...} -> [B, A]`.
    """

    def __init__(self, controller: Controller, composition: Composition, residual: Residual | None, spec: Spec):
        self.controller = controller
        self.composition = composition
        self.residual = residual
        """None where the base acts alone."""
        self._act = (
            base_alone(controller, composition, spec.action_size)
            if residual is None
            else base_plus_residual(controller, composition, residual, spec.action_size)
        )

    @property
    def promoted(self) -> bool:
        """Whether the residual acts."""
        return self.residual is not None

    def __call__(self, observation: Observation) -> np.ndarray:
        """The action, in [-1, 1]."""
        single = np.ndim(observation["observation"]) == 1
        batch = map_observation(lambda array: np.asarray(array)[None], observation) if single else observation
        _, action = self._act(batch)
        return action[0] if single else action
