"""Two simple scripts for the Fetch robot of gymnasium-robotics, used through Gymnasium."""

from collections.abc import Callable, Mapping

import numpy as np

Shown = Mapping[str, np.ndarray]

ABOVE = np.array([0.0, 0.0, 0.1])  # m over the table, on the way to behind the object
NEAR = 0.03  # m


def push(observation: Shown) -> np.ndarray:
    """Move behind the block, as seen from the goal, and push towards the goal, too slowly for distant goals: `[4]`."""
    return _act(observation, 0.08, lambda gripper, goal: goal - gripper)


def slide(observation: Shown) -> np.ndarray:
    """Move behind the puck, as seen from the goal, and hit it with a speed guessed from the distance: `[4]`."""
    puck = observation["achieved_goal"]
    return _act(observation, 0.12, lambda gripper, goal: 2.0 * (goal - puck[:2]))


def _act(observation: Shown, stand_off: float, drive: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Move above the start, go down, then move in the plane by `drive(gripper, goal)`; the fingers stay closed."""
    gripper, item = observation["observation"][0:3], observation["achieved_goal"]
    goal = observation["desired_goal"]
    to_goal = (goal - item)[:2]
    ahead = to_goal / max(float(np.linalg.norm(to_goal)), 1e-9)
    start = item - stand_off * np.append(ahead, 0.0)
    behind = (item - gripper)[:2] @ ahead
    aside = abs(ahead[0] * (gripper - item)[1] - ahead[1] * (gripper - item)[0])
    if np.linalg.norm(to_goal) < NEAR or behind > stand_off + 0.05:
        move = np.zeros(3)
    elif gripper[2] - item[2] < NEAR and aside < NEAR and behind > 0.0:
        move = np.append(drive(gripper[:2], goal[:2]), 0.0)
    else:
        high = 0.0 if np.linalg.norm((gripper - start)[:2]) < NEAR else 1.0
        move = 10.0 * (start + high * ABOVE - gripper)
    return np.append(move.clip(-1.0, 1.0), 0.0)
