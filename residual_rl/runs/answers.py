"""Ask a base at recorded observations, without changing it: by a copy, whose random generators can be seeded."""

import numpy as np

from residual_rl.controllers import Controller, propose, start_episodes
from residual_rl.controllers.copying import CannotCopy, copy_of
from residual_rl.errors import ControllerError
from residual_rl.types import Observation, select

SEED, ANOTHER_SEED = 1, 2


def to_ask(controller: Controller, chance: int = 0) -> Controller:
    """Return a copy, so that the controller itself does not change; if it cannot be copied, itself: episodes reset it."""
    try:
        return copy_of(controller, chance)
    except CannotCopy:
        return controller


def answers_of(controller: Controller, observation: Observation, action_size: int, chance: int = 0) -> np.ndarray:
    """Return the proposals `[T, E, A]` of a base, or of its copy, for observations `[T, E, ...]` from the start of episodes.

    `chance`: see `copy_of`.
    """
    return _asked(to_ask(controller, chance), observation, action_size)


def seeded_answers_of(controller: Controller, observation: Observation, action_size: int) -> np.ndarray | None:
    """Return the proposals `[T, E, A]` of a stochastic base whose generators all begin at a fixed seed.

    None if it has no generator of its own, if it cannot be copied or fails, or if something else decides its proposals too.
    """

    def asked(seed: int) -> np.ndarray:
        return _asked(copy_of(controller, seed=seed), observation, action_size)

    try:
        one, again, other = asked(SEED), asked(SEED), asked(ANOTHER_SEED)
    except (CannotCopy, ControllerError):
        return None
    return one if np.array_equal(one, again) and not np.array_equal(one, other) else None


def _asked(controller: Controller, observation: Observation, action_size: int) -> np.ndarray:
    steps, episodes = observation["observation"].shape[:2]
    start_episodes(controller, episodes)
    return np.stack([propose(controller, select(observation, step), action_size) for step in range(steps)])
