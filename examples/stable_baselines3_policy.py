"""Improve a policy that Stable-Baselines3 trained in another environment: `python examples/stable_baselines3_policy.py`."""

import ball_on_beam  # noqa: F401, registers BallOnBeam-v0
import gymnasium
from stable_baselines3 import PPO

import residual_rl


def main(out: str = "runs/ball-on-beam-ppo", pretraining: int = 50_000, **budget: int) -> None:
    """Train on a level beam; improve on the tilted one."""
    # --8<-- [start:improve]
    model = PPO("MlpPolicy", gymnasium.make("BallOnBeam-v0", askew=0.0), seed=0, device="cpu")
    model.learn(pretraining)
    run = residual_rl.improve("BallOnBeam-v0", model, out=out, **budget)
    print(run.verdict())
    # --8<-- [end:improve]


if __name__ == "__main__":
    main()
