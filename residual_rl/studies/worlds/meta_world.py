"""Tasks of Meta-World, with its own scripted policies made imperfect.

Source: Yu et al. 2019, "Meta-World", and the package `metaworld` with its policies.
Differs: an episode has 150 steps instead of 500, which is what the sound policies need; object and goal are drawn anew in every
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
OBJECT_X = [4, 22]  # where the object's position is shown, m: now, and one step ago


class Spoiled(NamedTuple):
    """What is done to a scripted policy."""

    how: str
    controller: Callable[[Law], Any]


SPOILED = {
    "push": Spoiled("sees the puck 2.5 cm to the side", lambda law: Miscalibrated(law, _shift(0.025))),
    "drawer-open": Spoiled("moves at 0.58 of its speed", lambda law: Weak(law, np.array([0.58, 0.58, 0.58, 1.0]))),
    "door-open": Spoiled("acts 6 steps late", lambda law: per_lane(lambda: Delayed(law, 6))),
    "sweep-into": Spoiled("noise of standard deviation 1 on its actions", lambda law: Noisy(law, 1.0)),
    "button-press-topdown": Spoiled("drifts back, by 0.65 of its speed", lambda law: Biased(law, np.array([0, -0.65, 0, 0]))),
    "hammer": Spoiled("acts 8 steps late", lambda law: per_lane(lambda: Delayed(law, 8))),
}
"""Tasks, and what is done to Meta-World's policy for them."""

META_WORLD = "proof", "Meta-World's tasks"


class MetaWorld(gymnasium.Env[np.ndarray, np.ndarray]):
    """One task, with the reward that Meta-World gives, or with a sparse one."""

    def __init__(self, task: str, sparse: bool):
        named = need("metaworld.env_dict", *META_WORLD).ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
        self.env: Any = named[f"{task}-v3-goal-observable"]()
        self.env._freeze_rand_vec = False
        self.env.seeded_rand_vec = True
        self.sparse = sparse
        self.observation_space = self.env.observation_space
        self.action_space = self.env.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """A new episode. Meta-World's own `reset` ignores the seed."""
        if seed is not None:
            self.env.seed(seed)
        return self.env.reset()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """A step; with the sparse reward, -1, and the episode ends with the first success."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self.sparse:
            reward, terminated = -1.0, bool(info["success"])
        return observation, float(reward), terminated, truncated, info

    def close(self) -> None:
        """Frees what it holds."""
        self.env.close()


def scripted(task: str) -> Any:
    """Meta-World's own policy for a task, its actions within the bounds."""
    # It warns of every action that its environment will clip.
    warnings.filterwarnings("ignore", message="Constant\\(s\\) may be too high")
    policy = need("metaworld.policies", *META_WORLD).ENV_POLICY_MAP[f"{task}-v3"]()

    def act(observation: np.ndarray) -> np.ndarray:
        return np.clip(policy.get_action(observation), -1.0, 1.0).astype(np.float64)

    return act


def spoiled(task: str) -> Any:
    """The same, made imperfect."""
    return SPOILED[task].controller(scripted(task))


def _shift(meters: float) -> np.ndarray:
    shift = np.zeros(OBSERVED)
    shift[OBJECT_X] = meters
    return shift
