"""Improve two settings of your own controller with several seeds: `python examples/own_sweep.py`, with Ray: `... auto`."""

import sys
from pathlib import Path
from typing import Any

import ball_on_beam
import gymnasium
import numpy as np

from residual_rl.studies import Trial, run


# --8<-- [start:controllers]
def beam() -> gymnasium.Env:
    """Make the environment."""
    return gymnasium.make("BallOnBeam-v0")


class PD:
    """Tilt the beam so that the ball rolls to the mark."""

    def __init__(self, gain: float):
        self.gain = gain

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Return the action for one observation: `[4] -> [1]`."""
        error, velocity, _, _ = observation
        return np.array([self.gain * error - ball_on_beam.HALF_LENGTH * self.gain * velocity])


soft, stiff = PD(4.0), PD(8.0)
# --8<-- [end:controllers]


# --8<-- [start:trials]
def main(out: str = "runs/gains", ray: str | None = None, seeds: int = 3, steps: int = 50_000, **fields: Any) -> None:
    """Run all trials and print where their tables are."""
    trials = [
        Trial("beam", gain, seed, steps, env="own_sweep:beam", controller=f"own_sweep:{gain}", fields=fields)
        for seed in range(seeds)
        for gain in ("soft", "stiff")
    ]
    run(trials, out, ray=ray)
    print(Path(out) / "verdicts.csv")


if __name__ == "__main__":
    main(ray=sys.argv[1] if len(sys.argv) > 1 else None)
    # --8<-- [end:trials]
