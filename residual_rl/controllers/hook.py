"""The hand-written controller for Hook, NoisyHook and ComplexHook, batched and memoryless."""

from dataclasses import dataclass

import numpy as np

from residual_rl.controllers.phases import CLOSE, HOLD, OPEN, first_that_holds, squared_length
from residual_rl.tasks.rules import FINGER_POSITION, GRIPPER_POSITION, HOOK, HOOK_POSITION, OBJECT_POSITION
from residual_rl.types import Observation


@dataclass(frozen=True)
class ReactiveHook:
    """Grasps the hook, brings its head behind the object, and sweeps the object to the goal.

    If the observation is a history of frames, it reads the last 40 entries, the newest frame. It uses positions only, not the
    orientation of hook or object. Nearly perfect on Hook; noise on the hook's position makes it miss its grasp.
    Its proposals are not clipped.

    Source: Silver et al. 2018, section V-B4; constants from the code published with it. Differs: the published code has a
    phase that lifts the hook straight up once it is held, under a condition that can never hold there; it is left out.
    """

    gain: float = 10.0
    """Action per m on the way to the hook and behind the object: 10 halves the distance in each step."""
    sweep_speed: float = 0.4
    """Action while sweeping: 2 cm a step, divided over x and y by their direction."""
    grasp_depth: float = 0.05
    """m below the hook's site where the gripper takes it; beside the table's edge, for this is lower than its top."""
    clearance: float = 0.1
    """m above the place of grasping while travelling to it."""
    inside_tolerance: float = 1e-3
    """m^2, squared distance from gripper to the place of grasping at which it closes: about 3.2 cm."""
    above_tolerance: float = 1e-3
    """m^2, squared distance in the plane between gripper and hook at which it may go down."""
    held_tolerance: float = 1e-2
    """m^2, squared distance from gripper to the place of grasping within which closed fingers hold the hook: 10 cm."""
    closed_at: float = 0.034
    """m, a finger's position at most this is closed: also around nothing. The hook's shaft is held at 0.014."""
    open_at: float = 0.05
    """m, a finger's position when it is open, give or take `open_tolerance`."""
    open_tolerance: float = 1e-3
    """m"""
    behind: tuple[float, float, float] = (-0.5, -0.05, 0.45)
    """m, where the gripper goes to bring the head behind the object: x and y from the object, and height."""
    aligned_tolerance: float = 0.1
    """m, in x and in y, by which the hook may miss that place."""
    arrived_distance: float = 0.01
    """m along x plus m along y, from object to goal, at which it stands still."""

    reads_goal = True

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> base_action [B, 4]`."""
        seen = observation["observation"][:, -HOOK.observation_size :]
        gripper, object_, hook = seen[:, GRIPPER_POSITION], seen[:, OBJECT_POSITION], seen[:, HOOK_POSITION]
        finger = seen[:, FINGER_POSITION]
        object_to_goal = observation["desired_goal"][:, :2] - object_[:, :2]

        grasp = hook - np.array([0.0, 0.0, self.grasp_depth])
        place = np.column_stack([object_[:, :2] + self.behind[:2], np.full(len(seen), self.behind[2])])
        distance = np.maximum(np.linalg.norm(object_to_goal, axis=1), 1e-12)
        sweep = np.column_stack([self.sweep_speed * object_to_goal / distance[:, None], np.zeros(len(seen))])

        arrived = np.abs(object_to_goal).sum(axis=1) <= self.arrived_distance
        off_grasp = squared_length(gripper - grasp)
        held = (off_grasp < self.held_tolerance) & (finger <= self.closed_at)
        too_far = hook[:, 0] >= place[:, 0] + self.aligned_tolerance
        too_near = hook[:, 1] + self.aligned_tolerance <= place[:, 1]
        inside = off_grasp < self.inside_tolerance
        above = squared_length(gripper[:, :2] - hook[:, :2]) < self.above_tolerance
        opened = np.abs(finger - self.open_at) <= self.open_tolerance

        to_grasp = self.gain * (grasp - gripper)
        travel = to_grasp + self.gain * np.array([0.0, 0.0, self.clearance])
        still = np.zeros_like(gripper)
        phases = [
            (arrived, still, CLOSE),
            (held & (too_far | too_near), self.gain * (place - gripper), CLOSE),
            (held, sweep, CLOSE),
            (inside, still, CLOSE),
            (above & ~opened, still, OPEN),
            (above, to_grasp, HOLD),
            (np.ones_like(above), travel, HOLD),
        ]
        return first_that_holds(phases)
