"""A quadrotor in a vertical plane, and the linear quadratic regulator of a lighter one whose rotors obey at once."""

from collections import deque
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from residual_rl.optional import need

STEP = 0.02  # s
HORIZON = 200
GRAVITY = 9.81  # m/s^2
MODEL_MASS, MASS = 0.5, 0.65  # kg: what the regulator was computed for; with the load that it does not know
INERTIA = 0.004  # kg m^2
ARM = 0.15  # m from the centre to each rotor
THRUST = 6.0  # N, the largest of a rotor
DELAY = 2  # steps until the rotors do what they were told; unknown to the regulator too
FAR, TIPPED = 3.0, np.pi / 2  # m from the target, rad: beyond them it is lost
LOST = 100.0  # what that costs


class PlanarQuadrotor(gymnasium.Env[np.ndarray, np.ndarray]):
    """Fly to the target and hover there.

    Observation: position from the target, to the right and up (m), pitch (rad), their velocities (m/s, m/s, rad/s).
    Action: thrusts of the left and the right rotor (N). Reward: minus the distance to the target (m).
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (6,), np.float64)
    action_space = gymnasium.spaces.Box(0.0, THRUST, (2,), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start somewhere near the target, slightly tilted and moving; the rotors carry the weight."""
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1.0, 1.0, 6) * [1.0, 1.0, 0.2, 0.5, 0.5, 0.5]
        self.commanded = deque([np.full(2, MASS * GRAVITY / 2)] * DELAY)
        return self.state.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Simulate a fiftieth of a second, by semi-implicit Euler."""
        self.commanded.append(np.clip(action, 0.0, THRUST))
        left, right = self.commanded.popleft()
        position, velocity = self.state[:3], self.state[3:]
        pitch, lift = position[2], left + right
        acceleration = np.array(
            [-lift * np.sin(pitch) / MASS, lift * np.cos(pitch) / MASS - GRAVITY, (right - left) * ARM / INERTIA]
        )
        velocity += STEP * acceleration
        position += STEP * velocity
        distance = float(np.hypot(*position[:2]))
        lost = bool(distance > FAR or abs(position[2]) > TIPPED)
        return self.state.copy(), -distance - LOST * lost, lost, False, {}


def regulator_gains() -> np.ndarray:
    """Return the gains `[2, 6]` of the linear quadratic regulator for hovering with `MODEL_MASS`, from `python-control`."""
    dynamics, thrusts = np.zeros((6, 6)), np.zeros((6, 2))
    dynamics[:3, 3:] = np.eye(3)
    dynamics[3, 2] = -GRAVITY
    thrusts[4] = 1 / MODEL_MASS
    thrusts[5] = np.array([-ARM, ARM]) / INERTIA
    control = need("control", "proof-control", "the controllers of control engineering")
    return np.asarray(control.lqr(dynamics, thrusts, np.diag([10.0, 10.0, 1.0, 1.0, 1.0, 0.1]), np.eye(2))[0])


def regulator() -> Any:
    """Return the regulator, a function of one observation or a batch."""
    gains, hover = regulator_gains(), np.full(2, MODEL_MASS * GRAVITY / 2)

    def lqr(observation: np.ndarray) -> np.ndarray:
        return (hover - observation @ gains.T).clip(0.0, THRUST)

    return lqr


def planar_quadrotor() -> gymnasium.Env:
    """Return the quadrotor with its time limit."""
    return gymnasium.make(
        EnvSpec("PlanarQuadrotor-v0", lambda **_: PlanarQuadrotor(), max_episode_steps=HORIZON), disable_env_checker=True
    )
