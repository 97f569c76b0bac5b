"""Controllers for Gymnasium's Pendulum, LunarLander and BipedalWalker: textbook laws and Gymnasium's heuristics."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from residual_rl.controllers import per_lane
from residual_rl.studies.worlds.imperfections import Delayed, Law

LENGTH, MASS, GRAVITY = 1.0, 1.0, 10.0  # m, kg, m/s^2 of Pendulum-v1
UPRIGHT = np.pi / 4  # rad, below this angle the PD law holds the pendulum


def swing_up(observation: np.ndarray) -> np.ndarray:
    """Pump energy until the pendulum is nearly upright, then hold it with hardly any damping: `[3] -> [1]`, in N m.

    Source: Astrom and Furuta 2000, "Swinging up a pendulum by energy control".
    """
    cosine, sine, speed = observation
    angle = np.arctan2(sine, cosine)
    if abs(angle) < UPRIGHT:
        return np.array([-10.0 * angle - 0.5 * speed])
    missing = MASS * LENGTH**2 / 6 * speed**2 + MASS * GRAVITY * LENGTH / 2 * (cosine - 1)
    return np.array([-missing * speed])


def late_lander() -> Any:
    """Return Gymnasium's heuristic for LunarLander, delayed by 8 steps."""
    return per_lane(lambda: Delayed(_lander(), 8))


def _lander() -> Law:
    from gymnasium.envs.box2d.lunar_lander import heuristic

    continuous = SimpleNamespace(unwrapped=SimpleNamespace(continuous=True))  # the only attribute that the heuristic reads
    return lambda observation: np.asarray(heuristic(continuous, observation), dtype=np.float64)


def walker() -> Any:
    """Return Gymnasium's heuristic for BipedalWalker, unchanged: it stumbles."""
    return per_lane(_walker)


def _walker() -> Law:
    from gymnasium.envs.box2d.bipedal_walker import BipedalWalkerHeuristics

    heuristic = BipedalWalkerHeuristics()
    return lambda observation: np.array(heuristic.step_heuristic(observation))
