"""The episodes that a model is learned from: rolled out one after the other, each in a file of its own."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from residual_rl import storage
from residual_rl.controllers.controller import Controller
from residual_rl.errors import ControllerError, RunError, WorldError
from residual_rl.residual import Composition
from residual_rl.rollout import ControllerFailure, collect
from residual_rl.seeds import Purpose
from residual_rl.tasks.lanes import Lanes
from residual_rl.types import Observation, Transition

MOST_EPISODES = 1000  # of one preparation, whose seeds follow each other
SEEDED_RUNS = 2000  # runs whose preparations share no seed
ATTEMPTS = 3  # for an episode that the environment loses


class Recorded(NamedTuple):
    """One episode, as a model sees it."""

    observation: np.ndarray
    """[T, O] in the environment's units."""
    action: np.ndarray
    """[T, A] with bounds -1 and 1."""
    after: np.ndarray
    """[T, O] the next observations."""
    reward: np.ndarray
    """[T] as the environment gave them."""

    @property
    def steps(self) -> int:
        """Its length."""
        return len(self.action)


class RandomActions:
    """Draws each action uniformly; what the first episode is made of."""

    reads_goal = False
    is_random = True

    def __init__(self, action_size: int, seed: int):
        self.action_size, self.rng = action_size, np.random.default_rng(seed)

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> [B, A]`."""
        return self.rng.uniform(-1.0, 1.0, (len(observation["observation"]), self.action_size))


def seeds_of(run_seed: int, number: int, lanes: int, attempt: int = 0) -> list[int]:
    """Return the seeds of some episodes of a preparation."""
    first = Purpose.PREPARATION + (run_seed % SEEDED_RUNS) * MOST_EPISODES
    return [first + (number * lanes + lane + 331 * attempt) % MOST_EPISODES for lane in range(lanes)]


def roll_out(envs: Lanes, controller: Controller, run_seed: int, number: int) -> list[Recorded]:
    """Return one episode of each lane.

    Raises:
        ControllerError: the controller failed in all of them.
        WorldError: the environment lost them, again and again.
    """
    reasons: list[str] = []
    for attempt in range(ATTEMPTS):
        seeds = seeds_of(run_seed, number, envs.num_envs, attempt)
        episodes, reasons = collect(envs, controller, Composition(), _nothing, seeds)
        if episodes:
            return [recorded_of(episode.transitions) for episode in episodes]
        if isinstance(reasons[0], ControllerFailure):
            raise ControllerError(reasons[0])
    raise WorldError(f"episode {number} of the preparation was lost {ATTEMPTS} times: {reasons[0]}")


def recorded_of(steps: Transition) -> Recorded:
    """Return what a model sees of an episode."""
    return Recorded(
        steps.observation["observation"], steps.action, steps.next_observation["observation"], np.asarray(steps.reward)
    )


def _nothing(observation: Observation, base_action: np.ndarray, step: int) -> np.ndarray:
    return np.zeros_like(base_action)


def save_episodes(path: Path, episodes: list[Recorded], metadata: dict[str, str]) -> None:
    """Write the episodes of one rollout atomically."""
    arrays = {f"{lane}.{name}": array for lane, one in enumerate(episodes) for name, array in one._asdict().items()}
    storage.write_arrays(path, arrays, metadata)


def read_episodes(path: Path) -> tuple[list[Recorded], dict[str, str]]:
    """Return what `save_episodes` wrote.

    Raises:
        RunError: the file is damaged.
    """
    arrays, metadata = storage.read_arrays(path)
    lanes = sorted({int(name.partition(".")[0]) for name in arrays})
    try:
        return [Recorded(*(arrays[f"{lane}.{name}"] for name in Recorded._fields)) for lane in lanes], metadata
    except KeyError as error:
        raise RunError(f"{path} is damaged: {error} is missing") from error


def joined(episodes: list[Recorded]) -> Recorded:
    """Return all steps, one episode after the other."""
    arrays: Any = (np.concatenate(each) for each in zip(*episodes, strict=True))
    return Recorded(*arrays)
