"""The trained policy: a base, a residual, and the verdict that decides whether the residual acts."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from residual_rl.controllers import Controller, start_episodes
from residual_rl.encoders.encoder import Encoder
from residual_rl.encoders.perception import Perception
from residual_rl.errors import ResidualRLError
from residual_rl.evaluation import Act, base_alone
from residual_rl.learning.algorithm import Algorithm, Networks, act, new_learner
from residual_rl.learning.exploration import greedy
from residual_rl.learning.history import History
from residual_rl.learning.serialization import from_arrays
from residual_rl.residual import Composer, Composition
from residual_rl.rollout import base_policy
from residual_rl.spaces import Layout
from residual_rl.types import Observation, Spec, map_observation, size_of, without_state


class Residual:
    """A learned residual, which never changes: `Observation[B], base_action [B, A] -> residual [B, A]`.

    Residuals that differ only in the scale or in the algorithm's knobs share the compiled code.
    """

    def __init__(self, algorithm: Algorithm, networks: Networks, scale: Any = None):
        """Make a residual for a `scale`, a number or `[A]`; None for the one that it was trained with."""
        self.algorithm = algorithm
        self.networks = networks
        self.scale = algorithm.composition.scale if scale is None else scale
        self._rule, self._settings = algorithm.rule, algorithm.settings(self.scale)
        self._key = jax.random.key(0)  # not used without exploration

    def __call__(self, observation: Observation, base_action: np.ndarray) -> np.ndarray:
        """Return the residual, in [-1, 1]."""
        roles, shown = greedy(len(base_action)), without_state(observation)
        return np.asarray(act(self._rule, self.networks, shown, base_action, self._key, roles, self._settings).residual)

    def scaled(self, scale: Any) -> "Residual":
        """Return the residual for another scale, which its gate depends on."""
        return Residual(self.algorithm, self.networks, scale)

    def tuned(self, **knobs: Any) -> "Residual":
        """Return the residual with other values of its algorithm's knobs.

        Raises:
            ResidualRLError: there is no such knob, or its value is out of range.
        """
        return Residual(self.algorithm.tuned(**knobs), self.networks, self.scale)


def base_plus_residual(
    controller: Controller,
    residual: Residual,
    action_size: int,
    composer: Composer | None = None,
    history: History | None = None,
) -> Act:
    """Return controller and residual as one policy. Composer and history continue from the previous steps that they hold."""
    composition = residual.algorithm.composition
    base, compose = base_policy(controller, composition, action_size), composer or Composer(composition)
    history = history or History(residual.algorithm.history)

    def policy(observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        base_action = base(observation)
        beside = composition.beside(base_action)
        return base_action, compose(beside, residual(history(observation), beside), residual.scale)

    def start(episodes: int) -> None:
        compose.start()
        history.start()
        start_episodes(controller, episodes)

    return Act(policy, start)


def network_alone(residual: Residual, action_size: int, composer: Composer, history: History) -> Act:
    """Return a network that stands alone as a policy, which asks no controller."""

    def policy(observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        nothing = np.zeros((size_of(observation), action_size))
        return nothing, composer(nothing, residual(history(observation), nothing), residual.scale)

    def start(episodes: int) -> None:
        composer.start()
        history.start()

    return Act(policy, start)


def restore_residual(algorithm: Algorithm, spec: Spec, arrays: dict[str, np.ndarray], source: str) -> Residual:
    """Return the residual whose networks were saved as named arrays.

    Raises:
        RunError: an array is missing or of the wrong form; names `source`.
    """
    shapes = eqx.filter_eval_shape(lambda key: algorithm.averaged(new_learner(algorithm, spec, key)), jax.random.key(0))
    return Residual(algorithm, from_arrays(shapes, arrays, "networks", source))


class Policy:
    """A base and, if the verdict promoted it, a residual: `observation -> action`.

    Takes one observation, `{"observation": [O], ...} -> [A]`, or a batch, `{"observation": [B, O], ...} -> [B, A]`; with a
    layout, observations and actions are those of the environment that has it, and an encoder makes features of what it shows.
    """

    def __init__(
        self,
        controller: Controller | None,
        composition: Composition,
        residual: Residual | None,
        spec: Spec,
        layout: Layout | None = None,
        encoder: Encoder | None = None,
    ):
        self.controller = controller
        """None if a network stands alone and the controller was not passed."""
        self.layout = layout
        self._perceive = None if layout is None else Perception(layout, encoder)
        self.composition = composition
        """The scale with which the residual was trained."""
        self.composer = Composer(composition)
        """The composer, which holds the previous step if there is a rate limit."""
        self._history = History(1 if residual is None else residual.algorithm.history)
        self._residual = residual
        self._action_size = spec.action_size
        self._trained = _per_entry(composition.scale, spec.action_size)
        self._scale = self._trained if residual is not None else np.zeros_like(self._trained)
        self._refresh()

    @property
    def promoted(self) -> bool:
        """Whether the residual acts."""
        return self._residual is not None

    @property
    def residual(self) -> Residual | None:
        """The residual with the present scale and caution; None if the base acts alone."""
        return self._residual

    @property
    def scale(self) -> float | tuple[float, ...]:
        """The factor of the residual: 0 is exactly the base; the verdict holds for the scale that it was trained with.

        If it was trained with a scale for each entry of the action, it is a tuple, and can be set to a tuple, or to a number
        that limits every entry. Setting it costs nothing, and changes no other policy.

        Raises:
            ResidualRLError: when set: the base acts alone; or it is below 0, or above what it was trained with.
        """
        return tuple(map(float, self._scale)) if isinstance(self.composition.scale, tuple) else float(self._scale[0])

    @scale.setter
    def scale(self, value: float | Sequence[float]) -> None:
        most, wanted = self.composition.scale, np.asarray(value, np.float64)
        limit = np.max(self._trained) if wanted.ndim == 0 else self._trained
        if wanted.shape not in ((), self._trained.shape) or not ((wanted >= 0.0) & (wanted <= limit)).all():
            raise ResidualRLError(f"scale must be between 0 and {most}, with which it was trained, not {value}")
        if self.composition.stands_alone and not np.array_equal(wanted, self._trained) and wanted.any():
            raise ResidualRLError(f"a network that stands alone has no scale: 0 is the base, {most} the network")
        if self._residual is None and wanted.any():
            raise ResidualRLError("the base acts alone: there is no residual that could be scaled")
        self._scale = np.minimum(wanted, self._trained)
        self._refresh()

    @property
    def caution(self) -> float | None:
        """How sure the critics must be before the residual acts: see `cautions` of its algorithm. It can be set at any time.

        Setting it costs nothing, and changes no other policy.

        Raises:
            ResidualRLError: the base acts alone, or the residual was learned without a gate; or, when set, it is out of range.
        """
        return self._require_gate.algorithm.knobs["caution"]

    @caution.setter
    def caution(self, value: float | None) -> None:
        self._residual = self._require_gate.tuned(caution=value)
        self._refresh()

    @property
    def _require_gate(self) -> Residual:
        if self._residual is None:
            raise ResidualRLError("the base acts alone: there is no residual that could be gated")
        if "caution" not in self._residual.algorithm.knobs:
            raise ResidualRLError("this residual was learned without a gate, and has no critics")
        return self._residual

    def _refresh(self) -> None:
        """Rebuild the policy from the present residual and scale."""
        if self._residual is None or not self._scale.any():
            if self.controller is None:
                raise ResidualRLError("the network stands alone; to go back to the base, pass the controller to `load`")
            self._act = base_alone(self.controller, self.composition, self._action_size)
            self.composer.start()
            self._history.start()
            return
        scale = self.scale
        if scale != self._residual.scale:
            self._residual = self._residual.scaled(scale)
        if self.composition.stands_alone:
            self._act = network_alone(self._residual, self._action_size, self.composer, self._history)
            return
        assert self.controller is not None
        self._act = base_plus_residual(self.controller, self._residual, self._action_size, self.composer, self._history)

    def reset(self, episodes: int = 1) -> None:
        """Start one or more parallel episodes. Call it if the controller is stateful, or with a rate limit or a history."""
        self._act.start(episodes)

    def __call__(self, observation: Any) -> np.ndarray:
        """Return the action for one observation, or for each of a batch.

        Args:
            observation: as the environment shows it, or a batch of them with a leading axis `[B]`.

        Returns:
            `[A]` or `[B, A]`, in the units of the environment: in [-1, 1] for tasks of the library.

        Raises:
            ControllerError: the base raised, or proposed an invalid action.
            EncoderError: the encoder raised, or returned no features.
            ValueError, KeyError: the observation does not fit this environment.
        """
        layout = self.layout
        single = layout.is_single(observation) if layout else np.ndim(observation["observation"]) == 1
        if layout and self._perceive:
            rows = layout.rows(observation, () if single else (size_of(observation),))
            batch = self._perceive(rows[None] if single else rows)
        else:
            batch = map_observation(lambda array: np.asarray(array)[None], observation) if single else observation
        _, action = self._act(batch)
        if layout:
            action = layout.to_world(action)
        return action[0] if single else action


def _per_entry(scale: float | tuple[float, ...], action_size: int) -> np.ndarray:
    """Return the scale of each entry: `[A]`."""
    return np.broadcast_to(np.asarray(scale, np.float64), action_size).copy()
