"""Classical laws for Gymnasium's MountainCarContinuous, InvertedDoublePendulum and Reacher."""

import numpy as np

BALANCE = np.array([0.213, 1.818, 5.586, 0.315, 0.896, 0.824])
"""Gains of the linear quadratic regulator of InvertedDoublePendulum-v5: a cart's position (m), both angles (rad), their speeds.

MuJoCo's linearisation (`mjd_transitionFD`) over a step of 0.05 s, weights 1, 10, 10 and 0.1 on the speeds, 1 on the action.
`tests/test_classical_worlds.py` computes them again."""
UPPER, LOWER = 0.1, 0.11  # m: the links of Reacher-v5
PULL, DAMPING = 10.0, 0.2  # per m, s/rad


def rock(observation: np.ndarray) -> np.ndarray:
    """Push the car with full force in the direction in which it moves, so that it gains height: `[2] -> [1]`."""
    return np.array([1.0 if observation[1] >= 0.0 else -1.0])


def balance(observation: np.ndarray) -> np.ndarray:
    """Balance the double pendulum by feedback of its whole state: `[9] -> [1]`."""
    sines, cosines = observation[1:3], observation[3:5]
    state = np.concatenate([observation[:1], np.arctan2(sines, cosines), observation[5:8]])
    return -BALANCE @ state[:, None]


def reach(observation: np.ndarray) -> np.ndarray:
    """Pull the fingertip to the target through the transposed Jacobian, with too much damping: `[10] -> [2]`."""
    cosines, sines = observation[:2], observation[2:4]
    cosine = cosines[0] * cosines[1] - sines[0] * sines[1]  # of the sum of both angles
    sine = sines[0] * cosines[1] + cosines[0] * sines[1]
    outer = LOWER * np.array([-sine, cosine])
    jacobian = np.stack([UPPER * np.array([-sines[0], cosines[0]]) + outer, outer], axis=1)
    return -PULL * observation[8:10] @ jacobian - DAMPING * observation[6:8]
