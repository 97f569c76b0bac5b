"""Improve a PID controller in your own environment: `python examples/pid.py`."""

import ball_on_beam  # registers BallOnBeam-v0
import gymnasium
import numpy as np

import residual_rl


# --8<-- [start:controller]
class PID:
    """Tilt the beam so that the ball rolls to the mark. The integral of the error makes it stateful."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start an episode."""
        self.error_sum = 0.0

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Return the action for one observation: `[4] -> [1]`."""
        error, velocity, _, _ = observation
        self.error_sum += error * ball_on_beam.STEP
        return np.array([8.0 * error + 2.0 * self.error_sum - 2.0 * velocity])
        # --8<-- [end:controller]


def main(out: str = "runs/ball-on-beam", **budget: int) -> None:
    """Improve the controller, load the policy and run one episode."""
    # --8<-- [start:improve]
    controller = residual_rl.per_lane(PID)
    run = residual_rl.improve("BallOnBeam-v0", controller, out=out, **budget)
    print(run.verdict())
    # --8<-- [end:improve]

    # --8<-- [start:load]
    policy = residual_rl.load(out, residual_rl.per_lane(PID))
    env = gymnasium.make("BallOnBeam-v0")
    observation, _ = env.reset(seed=0)
    policy.reset()
    ended = False
    while not ended:
        observation, _, terminated, truncated, info = env.step(policy(observation))
        ended = terminated or truncated
    print("held" if info["is_success"] else "lost")
    # --8<-- [end:load]

    # --8<-- [start:export]
    print(residual_rl.export(out, f"{out}-bundle"))
    # --8<-- [end:export]


if __name__ == "__main__":
    main()
