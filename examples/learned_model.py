"""Learn a model, plan with it, learn a residual on top: `python examples/learned_model.py [pendulum | cart-pole]`."""

import sys
from typing import Any

import cart_pole  # registers CartPoleSwingUp-v0
import jax.numpy as jnp

import residual_rl
from residual_rl.controllers import PETS
from residual_rl.pets.ensemble import ModelSettings
from residual_rl.pets.search import PlannerSettings


# --8<-- [start:reward]
def pendulum_reward(observation: Any, action: Any, after: Any) -> Any:
    """Return the reward of each step `[B]`: Pendulum's own, of the angle and speed before the action and of the torque."""
    angle = jnp.arctan2(observation[:, 1], observation[:, 0])
    return -(angle**2 + 0.1 * observation[:, 2] ** 2 + 0.001 * action[:, 0] ** 2)
    # --8<-- [end:reward]


# --8<-- [start:sizes]
SMALL: dict[str, Any] = {
    "model": ModelSettings(hidden=(64, 64), epochs=20.0, least_updates=400),
    "planner": PlannerSettings(horizon=20, candidates=60, elites=6, rounds=3, hold=4),
}
# --8<-- [end:sizes]


def pendulum(out: str, learning_steps: int = 2000, sizes: dict[str, Any] = SMALL, **budget: Any) -> None:
    """Learn the model of Pendulum, then the residual."""
    # --8<-- [start:improve]
    pets = PETS(pendulum_reward, steps=learning_steps, **sizes)
    run = residual_rl.improve("Pendulum-v1", pets, out=out, **{"steps": 12_000, **budget})
    print(run.verdict())
    policy = residual_rl.load(out, pets)  # a run keeps the model, but not a function of yours
    # --8<-- [end:improve]
    print(policy)


def swing_up(out: str, learning_steps: int = 2000, sizes: dict[str, Any] = SMALL, **budget: Any) -> None:
    """Do the same with the cart and its pole."""
    pets = PETS(cart_pole.reward, steps=learning_steps, **sizes)
    print(residual_rl.improve("CartPoleSwingUp-v0", pets, out=out, **{"steps": 12_000, **budget}).verdict())


def main(out: str | None = None, which: str = "pendulum", **budget: Any) -> None:
    """Run one of the two."""
    example = {"pendulum": pendulum, "cart-pole": swing_up}[which]
    example(out or f"runs/{which}-pets", **budget)


if __name__ == "__main__":
    main(which=sys.argv[1] if len(sys.argv) > 1 else "pendulum")
