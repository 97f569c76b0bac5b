"""Improve a model predictive controller whose model has an error: `python examples/mpc.py`."""

import itertools

import numpy as np
from ball_on_beam import HALF_LENGTH, LAG, LARGEST_TILT, ROLLING, STEP

import residual_rl

# --8<-- [start:controller]
TILTS = np.linspace(-1.0, 1.0, 7)
PLANS = np.array(list(itertools.product(TILTS, repeat=3))).repeat(6, axis=1)  # [N, T]: three tilts of 0.3 s each


def mpc(observation: np.ndarray) -> np.ndarray:
    """Return the first action of the plan with the lowest predicted cost: `[B, 4] -> [B, 1]`."""
    distance, velocity, position, angle = observation[:, :, None].swapaxes(0, 1)  # [B, 1] each
    cost = 0.0
    for tilt in PLANS.T:
        angle = angle + (LARGEST_TILT * tilt - angle) * STEP / LAG
        velocity = velocity + ROLLING * angle * STEP  # the model's beam is level; the real one is not
        position, distance = position + velocity * STEP, distance - velocity * STEP
        cost = cost + distance**2 + 0.05 * velocity**2 + 10.0 * (np.abs(position) > HALF_LENGTH)
    return PLANS[cost.argmin(axis=1), :1]
    # --8<-- [end:controller]


def main(out: str = "runs/ball-on-beam-mpc", **budget: int) -> None:
    """Improve the controller."""
    # --8<-- [start:improve]
    run = residual_rl.improve("BallOnBeam-v0", mpc, out=out, **budget)
    print(run.verdict())
    # --8<-- [end:improve]


if __name__ == "__main__":
    main()
