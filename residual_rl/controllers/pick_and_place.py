"""The hand-written controller for PickAndPlace, well tuned and oscillating, batched and memoryless."""

from dataclasses import dataclass

import numpy as np

from residual_rl.controllers.phases import CLOSE, HOLD, OPEN, first_that_holds, squared_length
from residual_rl.tasks.rules import FINGER_POSITION, GRIPPER_POSITION, OBJECT_POSITION
from residual_rl.types import Observation


@dataclass(frozen=True)
class ReactivePickAndPlace:
    """Goes above the block, opens, goes down, closes, carries it to the goal.

    The fields' own values are the well-tuned controller's, nearly perfect on PickAndPlace. `OSCILLATING` is the one that the
    paper improves: it carries with so high a gain that the block swings about the goal, and half of the time it hovers up and
    down over the block, never exactly enough above it to take it.
    Its proposals are not clipped.

    Source: Silver et al. 2018, section V-B3; constants from the code published with it.
    """

    move_gain: float = 10.0
    """Action per m on the way to the block: 10 halves the distance in each step."""
    carry_gain: float = 10.0
    """Action per m on the way to the goal. Above 20 it overshoots; at 50 only the largest step, 5 cm, bounds it."""
    grasp_offset: float = -0.02
    """m from the block's centre up to where the gripper takes it."""
    carry_offset: float = 0.05
    """m above the place of grasping, at the goal, that carrying aims at."""
    clearance: float = 0.1
    """m above the place of grasping while travelling to it."""
    inside_tolerance: float = 1e-3
    """m^2, squared distance from gripper to the place of grasping: about 3.2 cm."""
    above_tolerance: float = 1e-3
    """m^2, squared distance in the plane between gripper and block at which it may go down."""
    arrived_tolerance: float = 1e-3
    """m^2, squared distance from block to goal at which it stands still."""
    finger_tolerance: float = 1e-3
    """m, of the fingers' opening."""
    closed_at: float = 0.024
    """m, a finger's position when it holds the block."""
    open_at: float = 0.05
    """m, a finger's position when it is open."""

    reads_goal = True

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> base_action [B, 4]`."""
        seen = observation["observation"]
        gripper, block, finger = seen[:, GRIPPER_POSITION], seen[:, OBJECT_POSITION], seen[:, FINGER_POSITION]
        goal = observation["desired_goal"]
        grasp = np.array([0.0, 0.0, self.grasp_offset])

        inside = squared_length(gripper - block - grasp) < self.inside_tolerance
        closed = np.abs(finger - self.closed_at) < self.finger_tolerance
        opened = np.abs(finger - self.open_at) < self.finger_tolerance
        above = squared_length(gripper[:, :2] - block[:, :2]) < self.above_tolerance
        arrived = squared_length(block - goal) < self.arrived_tolerance

        to_grasp = block + grasp - gripper
        to_goal = goal + grasp + np.array([0.0, 0.0, self.carry_offset]) - gripper
        travel = to_grasp + np.array([0.0, 0.0, self.clearance])
        phases = [
            (inside & closed & arrived, np.zeros_like(gripper), CLOSE),
            (inside & closed, self.carry_gain * to_goal, CLOSE),
            (inside, np.zeros_like(gripper), CLOSE),
            (above & ~opened, np.zeros_like(gripper), OPEN),
            (above, self.move_gain * to_grasp, HOLD),
            (np.ones_like(above), self.move_gain * travel, HOLD),
        ]
        return first_that_holds(phases)


OSCILLATING = ReactivePickAndPlace(carry_gain=50.0, arrived_tolerance=1e-6, above_tolerance=1.15e-8)
"""The paper's base: solves about half of the episodes.

Differs: published with an `above_tolerance` of 5e-8 (0.22 mm). How far the hand drifts aside when it goes down depends on the
simulator. If it drifts out of tolerance, it rises again, and hovers up and down over the block. In today's MuJoCo it drifts
less than 0.22 mm in most episodes, and 0.8 of them succeed; within 0.11 mm half of them do, as in the paper.
"""

OSCILLATING_AS_RUN = ReactivePickAndPlace(carry_gain=50.0, arrived_tolerance=1e-6, above_tolerance=5e-8)
"""The published constants. Success depends on MuJoCo's version: 0.04 of the episodes succeed with 3.3.7, and 0.8 with 4.0."""
