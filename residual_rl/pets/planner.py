"""The planner: searches for actions in the learned model. One compiled call plans for all lanes."""

from collections.abc import Mapping
from copy import copy
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from residual_rl import storage
from residual_rl.errors import ControllerError, RunError
from residual_rl.learning.serialization import from_arrays, to_arrays
from residual_rl.pets.ensemble import Ensemble, ModelSettings, new_ensemble
from residual_rl.pets.rewards import REWARDS, Form, RewardOfStep, compiled
from residual_rl.pets.sampling import Reward, returns_of
from residual_rl.pets.search import PlannerSettings, search
from residual_rl.types import Array, Observation

KIND = "pets"
FILE = "model.safetensors"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class About:
    """What a planner is, beside the numbers of its model."""

    observation_size: int
    action_size: int
    reward: str
    """The reward function's name; a key of `REWARDS` in a task of the library."""
    form: Form = Form()
    model: ModelSettings = ModelSettings()
    planner: PlannerSettings = PlannerSettings()
    seed: int = 0
    """Of the random numbers of the search."""
    episodes: int = 0
    """Episodes that the model has seen."""
    steps: int = 0
    """Environment steps of these."""


@partial(jax.jit, static_argnames=("settings", "reward"))
def plan(
    model: Ensemble, observation: Array, mean: Array, step: Array, seed: Array, settings: PlannerSettings, reward: Reward
) -> tuple[Array, Array, Array]:
    """Plan in every lane.

    Args:
        model: the learned one.
        observation: `[E, O]`
        mean: `[E, T, A]` the sequences to begin with.
        step: `[E]` the number of this call in its episode.
        seed: `[]` of the planner.
        settings: of the search.
        reward: of a step.

    Returns:
        The actions `[E, A]`, the sequences to begin with in the next step `[E, T, A]`, and the best return seen `[E]`.
    """
    keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(seed), number))(step)

    def score(actions: Array, keys: Array) -> Array:
        return returns_of(model, observation, actions, reward, keys, settings.particles, settings.propagation)

    found, best = search(score, mean, keys, settings)
    later = jnp.concatenate([found[:, 1:], jnp.zeros_like(found[:, :1])], axis=1)
    return found[:, 0], later, best


class PETSPlanner:
    """A controller that plans with a learned model. An artefact, and stateful: each plan begins with the one before.

    In an episode its actions follow from the observations so far, whatever other lanes do.
    """

    kind = KIND
    reads_goal = False
    can_be_requeried = False
    is_stateful = True

    def __init__(self, model: Ensemble, about: About, reward: RewardOfStep):
        if about.planner.particles % about.model.networks:
            raise ControllerError(
                f"particles ({about.planner.particles}) must be a multiple of the number of networks ({about.model.networks})"
            )
        self.model, self.about, self.reward = model, about, reward
        self.seed = about.seed
        self.begin = 0
        """Added to the number of a step; another one gives other random numbers."""
        self._mean = np.zeros((0, about.planner.horizon, about.action_size), np.float32)
        self._step = np.zeros(0, np.int32)

    @property
    def __name__(self) -> str:
        """A name that depends on the contents."""
        return f"{KIND}-{self.digest[:12]}"

    @property
    def digest(self) -> str:
        """Return the SHA-256 of model and settings."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return storage.digest(self._arrays(), storage.to_json(self.about))

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return a planner with the same model, and episodes of its own."""
        other = copy(self)
        other._mean, other._step = self._mean.copy(), self._step.copy()
        return other

    def reset(self, mask: np.ndarray) -> None:
        """Begin an episode in the lanes `[E]` of the mask."""
        if len(mask) != len(self._step):
            self._mean = np.zeros((len(mask), *self._mean.shape[1:]), np.float32)
            self._step = np.zeros(len(mask), np.int32)
        self._mean = np.where(mask[:, None, None], np.float32(0.0), self._mean)
        self._step = np.where(mask, np.int32(0), self._step)

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[E] -> base_action [E, A]`.

        Raises:
            ControllerError: the observation is of another size; or in the model no sequence of actions has a finite return.
        """
        rows = np.asarray(observation["observation"], np.float32)
        if rows.shape[1] != self.about.observation_size:
            raise ControllerError(
                f"this planner's model is of observations of {self.about.observation_size} numbers, not {rows.shape[1]}"
            )
        if len(rows) != len(self._step):
            self.reset(np.ones(len(rows), bool))
        action, mean, best = plan(
            self.model, rows, self._mean, self._step + self.begin, self.seed, self.about.planner, self._compiled_reward
        )
        if not np.isfinite(best).all():
            raise ControllerError(
                "in the learned model, no sequence of actions has a finite return: the model has diverged, or the reward is "
                "not finite for observations that it imagines"
            )
        self._mean, self._step = np.asarray(mean), self._step + 1
        return np.asarray(action, np.float64)

    @cached_property
    def _compiled_reward(self) -> Reward:
        return compiled(self.reward, self.about.form, self.about.observation_size, self.about.action_size)

    @property
    def evaluations(self) -> int:
        """Predictions of a network for one action in one lane."""
        settings = self.about.planner
        return settings.candidates * settings.particles * settings.horizon * settings.rounds

    def _arrays(self) -> dict[str, np.ndarray]:
        return to_arrays(self.model, "model")

    def save(self, path: Path) -> None:
        """Write model and settings into a directory."""
        storage.write_arrays(path / FILE, self._arrays(), {"about": storage_json(self.about)})

    @classmethod
    def load(cls, path: str | Path, reward: RewardOfStep | None = None) -> Self:
        """Return the planner that was saved in a directory.

        Args:
            path: the directory.
            reward: the reward function; needed unless it is that of a task of the library.

        Raises:
            ControllerError: there is none, it is damaged, or it needs a reward.
        """
        file = Path(path) / FILE
        if not file.is_file():
            raise ControllerError(f"there is no learned model at {str(file)!r}")
        try:
            arrays, metadata = storage.read_arrays(file)
            about = about_from(metadata, file)
            return cls(model_from(arrays, about, str(file)), about, reward or _reward_called(about.reward, path))
        except RunError as error:
            raise ControllerError(str(error)) from error


def storage_json(about: About) -> str:
    """Return the record as JSON text."""
    return TypeAdapter(About).dump_json(about).decode()


def about_from(metadata: Mapping[str, str], source: Path) -> About:
    """Restore the record in a file's metadata.

    Raises:
        RunError: it is damaged.
    """
    try:
        return TypeAdapter(About).validate_json(metadata["about"])
    except (KeyError, ValueError) as error:
        raise RunError(f"{source} is damaged: it does not say which model it holds") from error


def model_from(arrays: Mapping[str, np.ndarray], about: About, source: str) -> Ensemble:
    """Restore the model of a file.

    Raises:
        RunError: it is damaged.
    """
    like = jax.eval_shape(lambda: new_ensemble(about.observation_size, about.action_size, about.model, jax.random.key(0)))
    return from_arrays(like, arrays, "model", source)


def _reward_called(name: str, path: Any) -> RewardOfStep:
    if name not in REWARDS:
        raise ControllerError(
            f"the planner in {path} needs its reward {name!r}, a function of yours: pass PETS(reward=...) as controller=..."
        )
    return REWARDS[name]
