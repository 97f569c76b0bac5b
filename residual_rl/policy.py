"""What is left when learning is over: a base, a residual, and the verdict on whether the residual acts."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from residual_rl.controllers import Controller, propose
from residual_rl.controllers.controller import Zero
from residual_rl.evaluate import Act
from residual_rl.learning.algorithm import Algorithm, Networks, act
from residual_rl.learning.serialization import from_arrays
from residual_rl.residual import Composition
from residual_rl.types import Observation, Spec


class Residual:
    """A learned residual that no longer changes: `Observation[B], base_action [B, A] -> residual [B, A]`."""

    def __init__(self, algorithm: Algorithm, networks: Networks):
        self._algorithm = algorithm
        self._networks = networks
        self._key = jax.random.key(0)  # without exploration no chance is involved

    def __call__(self, observation: Observation, base_action: np.ndarray) -> np.ndarray:
        """What the learner adds, in [-1, 1]."""
        no_row = np.zeros(len(base_action), dtype=bool)
        return np.asarray(act(self._algorithm, self._networks, observation, base_action, self._key, no_row))


def base_plus_residual(controller: Controller, composition: Composition, residual: Residual, action_size: int) -> Act:
    """Controller and residual as one policy."""

    def policy(observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        base_action = composition.base_action(propose(controller, observation, action_size))
        return base_action, composition.action(base_action, residual(observation, base_action))

    return policy


def restore_residual(algorithm: Algorithm, spec: Spec, arrays: dict[str, np.ndarray], source: str) -> Residual:
    """The residual whose networks were saved as named arrays.

    Raises:
        RunError: an array is missing or of the wrong form; names `source`.
    """
    shapes = eqx.filter_eval_shape(lambda key: algorithm.init(spec, key).networks, jax.random.key(0))
    return Residual(algorithm, from_arrays(shapes, arrays, "networks", source))
