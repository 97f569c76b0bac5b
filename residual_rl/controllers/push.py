"""The hand-written controller for Push and SlipperyPush, batched and memoryless."""

from dataclasses import dataclass

import numpy as np

from residual_rl.controllers.phases import squared_length
from residual_rl.tasks.rules import GRIPPER_POSITION, OBJECT_POSITION
from residual_rl.types import Observation


@dataclass(frozen=True)
class ReactivePush:
    """Goes behind the block as seen from the goal, then pushes it there.

    Nearly perfect on Push. On SlipperyPush it keeps pushing with the same gain, and the block slides past the goal.
    Its proposals are not clipped: far from the target they exceed what an action can be.

    Source: Silver et al. 2018, section V-B2; constants from the code published with it.
    """

    approach_gain: float = 10.0
    """Action per m on the way to the push position: 10 halves the distance in each step."""
    push_gain: float = 5.0
    """Action per m towards the goal while pushing."""
    stand_off: float = 0.075
    """m from the block's centre to the push position."""
    clearance: float = 0.1
    """m above the push position while travelling to it."""
    height_offset: float = 0.005
    """m from the block's centre up to the height of pushing."""
    tolerance: float = 1e-3
    """m^2, compared with squared distances: about 3.2 cm."""
    max_angle: float = np.pi / 4
    """rad between the directions gripper to goal and block to goal while pushing."""

    reads_goal = True

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> base_action [B, 4]`."""
        gripper = observation["observation"][:, GRIPPER_POSITION]
        block = observation["observation"][:, OBJECT_POSITION]
        goal = observation["desired_goal"]

        block_to_goal = goal[:, :2] - block[:, :2]
        gripper_to_goal = goal[:, :2] - gripper[:, :2]
        block_distance = np.linalg.norm(block_to_goal, axis=1)
        direction = block_to_goal / np.maximum(block_distance, 1e-12)[:, None]
        push_position = block + np.array([0.0, 0.0, self.height_offset])
        push_position[:, :2] -= self.stand_off * direction

        arrived = squared_length(block - goal) < self.tolerance
        angle = _angle_between(gripper_to_goal, block_to_goal)
        behind = (
            ((gripper[:, 2] - push_position[:, 2]) ** 2 < self.tolerance)
            & (angle < self.max_angle)
            & (block_distance < np.linalg.norm(gripper_to_goal, axis=1))
        )
        above = squared_length(gripper[:, :2] - push_position[:, :2]) < self.tolerance

        push = self.push_gain * np.column_stack([gripper_to_goal, np.zeros(len(gripper))])
        descend = self.approach_gain * (push_position - gripper)
        travel = descend + self.approach_gain * np.array([0.0, 0.0, self.clearance])
        move = np.where(behind[:, None], push, np.where(above[:, None], descend, travel))
        move[arrived] = 0.0
        return np.column_stack([move, np.zeros(len(move))])


def _angle_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the angle in [0, pi] rad between two directions in the plane: `[B, 2], [B, 2] -> [B]`."""
    cross = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    return np.abs(np.arctan2(cross, np.einsum("bn,bn->b", first, second)))
