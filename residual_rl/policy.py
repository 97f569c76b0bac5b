"""What is left when learning is over: a base, a residual, and the verdict on whether the residual acts."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import numpy as np
from pydantic import ValidationError

from residual_rl.controllers import Controller, start_episodes
from residual_rl.errors import ResidualRLError
from residual_rl.evaluation import Act, base_alone
from residual_rl.learning.algorithm import Networks, act, greedy
from residual_rl.learning.ddpg import DDPG
from residual_rl.learning.gated_ddpg import MOST_CAUTION, GatedDDPG
from residual_rl.learning.serialization import from_arrays
from residual_rl.residual import Composition
from residual_rl.rollout import base_policy
from residual_rl.spaces import Layout
from residual_rl.types import Observation, Spec, map_observation, size_of, without_state


class Residual:
    """A learned residual that no longer changes: `Observation[B], base_action [B, A] -> residual [B, A]`."""

    def __init__(self, algorithm: DDPG | GatedDDPG, networks: Networks):
        self.algorithm: DDPG | GatedDDPG = algorithm
        self.networks = networks
        self._key = jax.random.key(0)  # without exploration no chance is involved

    def __call__(self, observation: Observation, base_action: np.ndarray) -> np.ndarray:
        """What the learner adds, in [-1, 1]."""
        roles = greedy(len(base_action))
        return np.asarray(act(self.algorithm, self.networks, without_state(observation), base_action, self._key, roles))


def base_plus_residual(controller: Controller, composition: Composition, residual: Residual, action_size: int) -> Act:
    """Controller and residual as one policy."""
    base = base_policy(controller, composition, action_size)

    def policy(observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        base_action = base(observation)
        return base_action, composition.action(base_action, residual(observation, base_action))

    return Act(policy, controller)


def restore_residual(algorithm: DDPG | GatedDDPG, spec: Spec, arrays: dict[str, np.ndarray], source: str) -> Residual:
    """The residual whose networks were saved as named arrays.

    Raises:
        RunError: an array is missing or of the wrong form; names `source`.
    """
    shapes = eqx.filter_eval_shape(lambda key: algorithm.init(spec, key).averaged, jax.random.key(0))
    return Residual(algorithm, from_arrays(shapes, arrays, "networks", source))


class Policy:
    """A base and, where the verdict promoted it, a residual: `observation -> action`.

    Takes one observation, `{"observation": [O], ...} -> [A]`, or a batch, `{"observation": [B, O], ...} -> [B, A]`; with a
    layout, observations and actions are those of the environment that has it.
    """

    def __init__(
        self,
        controller: Controller,
        composition: Composition,
        residual: Residual | None,
        spec: Spec,
        layout: Layout | None = None,
    ):
        self.controller = controller
        self.layout = layout
        self.composition = composition
        """With which the residual was trained."""
        self.residual = residual
        """None where the base acts alone."""
        self._action_size = spec.action_size
        self.scale = 0.0 if residual is None else composition.scale

    @property
    def promoted(self) -> bool:
        """Whether the residual acts."""
        return self.residual is not None

    @property
    def scale(self) -> float:
        """Multiplies the residual: 0 is the base, exactly; what it was trained with is what the verdict speaks of.

        Raises:
            ResidualRLError: when set: the base acts alone; or it is below 0, or above what it was trained with.
        """
        return self._scale

    @scale.setter
    def scale(self, value: float) -> None:
        most = self.composition.scale
        if not 0.0 <= value <= most:
            raise ResidualRLError(f"scale must be between 0 and {most}, with which it was trained, not {value}")
        if value == 0.0:
            self._act = base_alone(self.controller, self.composition, self._action_size)
        elif self.residual is None:
            raise ResidualRLError("the base acts alone: there is no residual that could be scaled")
        else:
            scaled = replace(self.composition, scale=value)
            self.residual.algorithm = replace(self.residual.algorithm, composition=scaled)  # its gate asks about what acts
            self._act = base_plus_residual(self.controller, scaled, self.residual, self._action_size)
        self._scale = float(value)

    @property
    def caution(self) -> float | None:
        """How sure the critics must be before the residual acts: see `GatedDDPG.cautions`. It can be set at any time.

        Raises:
            ResidualRLError: the base acts alone, or the residual was learned without a gate; or, when set, it is out of range.
        """
        return self._gated[1].caution

    @caution.setter
    def caution(self, value: float | None) -> None:
        residual, algorithm = self._gated
        try:
            residual.algorithm = replace(algorithm, cautions=(value,))
        except ValidationError as error:
            raise ResidualRLError(f"caution must be None or a number from 0 to {MOST_CAUTION:g}, not {value!r}") from error

    @property
    def _gated(self) -> tuple[Residual, GatedDDPG]:
        if self.residual is None:
            raise ResidualRLError("the base acts alone: there is no residual that could be gated")
        if not isinstance(self.residual.algorithm, GatedDDPG):
            raise ResidualRLError("this residual was learned without a gate, and has no critics to ask")
        return self.residual, self.residual.algorithm

    def reset(self, episodes: int = 1) -> None:
        """To be called where an episode starts (or so many side by side), if the controller remembers; else it does nothing."""
        start_episodes(self.controller, episodes)

    def __call__(self, observation: Any) -> np.ndarray:
        """The action for one observation, or for each of a batch.

        Args:
            observation: as the environment shows it, or a batch of them with a leading axis `[B]`.

        Returns:
            `[A]` or `[B, A]`, in the units of the environment: in [-1, 1] for tasks of the library.

        Raises:
            ControllerError: the base raised, or proposed something that is no action.
            ValueError, KeyError: the observation is none of this environment.
        """
        layout = self.layout
        single = layout.is_single(observation) if layout else np.ndim(observation["observation"]) == 1
        if layout:
            observation = layout.flatten(observation, () if single else (size_of(observation),))
        batch = map_observation(lambda array: np.asarray(array)[None], observation) if single else observation
        _, action = self._act(batch)
        if layout:
            action = layout.to_world(action)
        return action[0] if single else action
