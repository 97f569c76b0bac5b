"""A hand-written policy for MBRLPusher, so that tests see the cylinder pushed; and a table of what it does."""

import numpy as np
from gymnasium.vector import AutoresetMode

from residual_rl.controllers import TableController
from residual_rl.residual import Composition
from residual_rl.rollout import collect
from residual_rl.tasks import find_task

SHOULDER = np.array([0.0, -0.6])  # m
LOW, HIGH = -0.275, -0.12  # m, the tip's height while pushing and before
REACH = 0.08  # m, from the tip out to the object
GAINS = np.array([6.0, 6.0, 3.0, 4.0, 2.0, 2.0, 2.0])  # N m/rad
DAMPING = np.array([2.0, 2.0, 0.5, 0.5, 0.3, 0.2, 0.2])  # N m s/rad


def scripted(observation):
    """`Observation[B] -> action [B, 7]`: turns to the cylinder, takes it between the prongs, and turns to the goal."""
    joints, velocities, tip, cylinder = np.split(observation["observation"], (7, 14, 17), axis=1)
    distance, bearing = _seen_from_the_shoulder(cylinder)
    goal_distance, goal_bearing = _seen_from_the_shoulder(observation["desired_goal"])
    pan = joints[:, 0]
    down = tip[:, 2] < -0.25
    way = goal_bearing - bearing
    towards_goal = pan + (goal_bearing + 0.1 * np.sign(way) - pan).clip(-0.2, 0.2)
    radius = np.where(down & (np.abs(way) < 0.1), goal_distance, distance) - REACH
    height = np.where(down | (np.abs(pan - bearing) < 0.06), LOW, HIGH)
    lift, elbow, wrist = _bent_to(radius, height)
    straight = np.zeros_like(pan)
    target = np.stack([np.where(down, towards_goal, bearing), lift, straight, elbow, straight, wrist, straight], axis=1)
    return (GAINS * (target - joints) - DAMPING * velocities).clip(-1.0, 1.0)


scripted.reads_goal = True


def recorded_table(rows=500):
    """The paper's number of rows, of as many episodes as that takes."""
    task = find_task("mbrl-pusher")
    lanes = -(-rows // task.spec.horizon)
    envs = task.make_envs(lanes, num_threads=1, autoreset_mode=AutoresetMode.DISABLED)
    episodes, _ = collect(envs, scripted, Composition(), lambda _, base_action, step: 0 * base_action, list(range(lanes)))
    envs.close()
    return TableController.from_rollouts([episode.transitions for episode in episodes], rows)


def _seen_from_the_shoulder(place):
    """Distance in m and bearing in rad: `[B, 3] -> [B], [B]`."""
    way = place[:, :2] - SHOULDER
    return np.linalg.norm(way, axis=1), np.arctan2(way[:, 1], way[:, 0])


def _bent_to(radius, height):
    """Angles of lift, elbow and wrist that put the tip there: `[B], [B] -> [B], [B], [B]`. Links of 0.4 and 0.321 m."""
    out, down = radius - 0.1, -height
    bend = np.arccos(((out**2 + down**2 - 0.4**2 - 0.321**2) / (2 * 0.4 * 0.321)).clip(-1.0, 1.0))
    lift = np.arctan2(down, out) + np.arctan2(0.321 * np.sin(bend), 0.4 + 0.321 * np.cos(bend))
    return lift, -bend, (bend - lift).clip(-1.09, 0.0)
