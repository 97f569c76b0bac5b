"""Tasks of Meta-World with its own scripted policies, made imperfect.

Source: Yu et al. 2019, "Meta-World", and the package `metaworld` with its policies.
Differs: an episode has 150 steps instead of 500, enough for the intact policies; object and goal are drawn anew in every
episode, and the goal is in the observation.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from residual_rl.controllers import per_lane
from residual_rl.optional import need
from residual_rl.studies.worlds.imperfections import Biased, Delayed, Law, Miscalibrated, Noisy, Weak

HORIZON = 150
OBSERVED = 39
DRIFT = np.array([0.0, -0.65, 0.0, 0.0])
OBJECT_X = [4, 22]  # entries of the object's x position in m: now, and one step ago


class Imperfection(NamedTuple):
    """A change that makes a scripted policy imperfect."""

    how: str
    controller: Callable[[Law], Any]


IMPERFECTIONS = {
    "push": Imperfection("sees the puck 2.5 cm to the side", lambda law: Miscalibrated(law, _shift(0.025))),
    "drawer-open": Imperfection("moves at 0.58 of its speed", lambda law: Weak(law, np.array([0.58, 0.58, 0.58, 1.0]))),
    "door-open": Imperfection("acts 6 steps late", lambda law: per_lane(lambda: Delayed(law, 6))),
    "sweep-into": Imperfection("noise of standard deviation 1 on its actions", lambda law: Noisy(law, 1.0)),
    "button-press-topdown": Imperfection("drifts back, by 0.65 of its speed", lambda law: Biased(law, DRIFT)),
    "hammer": Imperfection("acts 8 steps late", lambda law: per_lane(lambda: Delayed(law, 8))),
}
"""Task: the imperfection of its policy."""

META_WORLD = "proof", "Meta-World's tasks"


class MetaWorld(gymnasium.Env[np.ndarray, np.ndarray]):
    """One task, with Meta-World's reward or a sparse one."""

    def __init__(self, task: str, sparse: bool):
        named = need("metaworld.env_dict", *META_WORLD).ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
        self.env: Any = named[f"{task}-v3-goal-observable"]()
        self.env._freeze_rand_vec = False
        self.env.seeded_rand_vec = True
        self.sparse = sparse
        self.observation_space = self.env.observation_space
        self.action_space = self.env.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode. Meta-World's own `reset` ignores the seed."""
        if seed is not None:
            self.env.seed(seed)
        return self.env.reset()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take a step. The sparse reward is -1, and the first success ends the episode."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self.sparse:
            reward, terminated = -1.0, bool(info["success"])
        return observation, float(reward), terminated, truncated, info

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def scripted(task: str) -> Any:
    """Return Meta-World's policy for a task, with actions clipped to the bounds."""
    # The policy warns about every action that its environment will clip.
    warnings.filterwarnings("ignore", message="Constant\\(s\\) may be too high")
    policy = need("metaworld.policies", *META_WORLD).ENV_POLICY_MAP[f"{task}-v3"]()

    def act(observation: np.ndarray) -> np.ndarray:
        return np.clip(policy.get_action(observation), -1.0, 1.0).astype(np.float64)

    return act


def imperfect_policy(task: str) -> Any:
    """Return the scripted policy of a task with its imperfection."""
    return IMPERFECTIONS[task].controller(scripted(task))


def _shift(meters: float) -> np.ndarray:
    shift = np.zeros(OBSERVED)
    shift[OBJECT_X] = meters
    return shift
