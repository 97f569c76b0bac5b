"""PandaPush of panda-gym, and a script that pushes too slowly."""

from collections.abc import Mapping

import gymnasium
import numpy as np

from residual_rl.optional import need
from residual_rl.studies.worlds.world import registered

ABOVE = np.array([0.0, 0.0, 0.1])  # m over the table, on the way to behind the block
STAND_OFF = 0.06  # m behind the block
NEAR, LOW = 0.02, 0.03  # m
DRIVE = 0.6  # of the action for each m to the goal; 3 would be in time


def panda_push() -> gymnasium.Env:
    """Return PandaPush-v3: 50 steps, a reward of -1 until the block is at the goal."""
    need("panda_gym", "proof-control", "the tasks of panda-gym")
    return registered("panda_gym:PandaPush-v3")


def push(observation: Mapping[str, np.ndarray]) -> np.ndarray:
    """Move behind the block, as seen from the goal, and push it there: `[3]`, the displacement of the hand."""
    hand, block = observation["observation"][:3], observation["achieved_goal"]
    goal = observation["desired_goal"]
    to_goal = (goal - block)[:2]
    distance = float(np.linalg.norm(to_goal))
    ahead = to_goal / max(distance, 1e-9)
    start = block - STAND_OFF * np.append(ahead, 0.0)
    behind = (block - hand)[:2] @ ahead
    aside = abs(ahead[0] * (hand - block)[1] - ahead[1] * (hand - block)[0])
    if distance < NEAR:
        return np.zeros(3)
    if hand[2] - block[2] < LOW and aside < LOW and behind > 0.0:
        return np.append(DRIVE * (goal - hand)[:2], 0.0).clip(-1.0, 1.0)
    high = 0.0 if np.linalg.norm((hand - start)[:2]) < NEAR else 1.0
    return (10.0 * (start + high * ABOVE - hand)).clip(-1.0, 1.0)
