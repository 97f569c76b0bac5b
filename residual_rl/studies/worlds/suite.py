"""The cart-pole of dm_control, through shimmy, and a law that swings the pole up and holds it."""

from collections.abc import Mapping

import gymnasium
import numpy as np

from residual_rl.optional import need
from residual_rl.studies.worlds.world import registered

GRAVITY, HALF_LENGTH = 9.81, 0.5  # m/s^2; m from the hinge to the pole's centre of mass
NEAR = 0.4  # rad from upright, below which the pole is held
PUMP = 0.05  # of the force for each J/kg of missing energy; twice as much would swing it up in half the time
CENTRE, BRAKE = 0.1, 0.1  # 1/m, s/m: pulls the cart to the middle
HOLD, DAMP, ASIDE, DRIFT = 3.0, 0.6, 0.1, 0.2  # 1/rad, s/rad, 1/m, s/m


def cart_pole() -> gymnasium.Env:
    """Return the task `cartpole swingup`. An episode has 1000 steps of 0.01 s, and a step's reward is from 0 to 1."""
    for package in ("dm_control", "shimmy"):
        need(package, "proof-control", "the tasks of dm_control")
    return registered("shimmy:dm_control/cartpole-swingup-v0")


def swing_up(observation: Mapping[str, np.ndarray]) -> np.ndarray:
    """Pump energy, too slowly, and hold the pole when it is upright: `[1]`.

    Source: Astrom and Furuta 2000, "Swinging up a pendulum by energy control".
    """
    place, cosine, sine = observation["position"]
    speed, turning = observation["velocity"]
    angle = np.arctan2(sine, cosine)
    if abs(angle) < NEAR:
        return np.array([HOLD * angle + DAMP * turning + ASIDE * place + DRIFT * speed])
    missing = GRAVITY * HALF_LENGTH * (1.0 - cosine) - turning**2 / 6  # a rod of 1 m turns about its end
    return np.array([-PUMP * missing * turning * cosine - CENTRE * place - BRAKE * speed])
