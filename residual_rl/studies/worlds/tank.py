"""A tank with an electric heater whose temperature is measured at the end of a pipe, and a PID controller of `simple-pid`."""

from collections import deque
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from residual_rl.controllers import per_lane
from residual_rl.optional import need

STEP = 1.0  # s
HORIZON = 200
CHANGE = 100  # step at which the wanted temperature changes
HEAT = 4186.0  # J/(kg K) of water; a litre has 1 kg
TANK, PIPE = 2.0, 0.5  # litres
INLET = 15.0  # degrees Celsius
POWER = 6000.0  # W, the heater's largest
LAG = 5.0  # s: time constant of the heater
FLOW = 0.03, 0.1  # litres/s: the range from which an episode's flow is drawn
WANTED = 22.0, 28.0  # degrees Celsius; the heater reaches 29 even at the largest flow
GAINS = 600.0, 30.0, 0.0  # W/K, W/(K s), W s/K: Skogestad's rules for the largest flow, where the pipe delays by 5 s


class HeatedTank(gymnasium.Env[np.ndarray, np.ndarray]):
    """Bring the water at the end of the pipe to the wanted temperature. The less flows, the later it shows what the heater did.

    Observation: wanted temperature and that at the end of the pipe (degrees Celsius), flow (litres/s), power of the heater (W).
    Action: the commanded power, in W. Reward: minus the error at the end of the pipe, in K.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)
    action_space = gymnasium.spaces.Box(0.0, POWER, (1,), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Draw the flow and both wanted temperatures; the water is cold, and the heater is off."""
        super().reset(seed=seed)
        self.flow = self.np_random.uniform(*FLOW)
        self.wanted, self.later = self.np_random.uniform(*WANTED, 2)
        self.temperature, self.power, self.steps = INLET, 0.0, 0
        self.pipe = deque([INLET] * round(PIPE / self.flow / STEP))
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Simulate a second. The water in the tank is mixed; in the pipe it moves as a plug and loses no heat."""
        self.power += (float(action[0]) - self.power) * STEP / LAG
        exchanged = self.flow * (INLET - self.temperature)
        self.temperature += (exchanged + self.power / HEAT) * STEP / TANK
        self.pipe.append(self.temperature)
        self.pipe.popleft()
        self.steps += 1
        if self.steps == CHANGE:
            self.wanted = self.later
        return self._observation(), -abs(self.wanted - self.pipe[0]), False, False, {}

    def _observation(self) -> np.ndarray:
        return np.array([self.wanted, self.pipe[0], self.flow, self.power])


class Thermostat:
    """PID of `simple-pid`, tuned for the largest flow."""

    def __init__(self) -> None:
        make = need("simple_pid", "proof-control", "the controllers of control engineering").PID
        self.pid: Any = make(*GAINS, sample_time=None, output_limits=(0.0, POWER))

    def reset(self) -> None:
        """Start an episode."""
        self.pid.reset()

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Return the power `[1]` in W."""
        self.pid.setpoint = float(observation[0])
        return np.array([self.pid(float(observation[1]), dt=STEP)])


def heated_tank() -> gymnasium.Env:
    """Return the tank with its time limit."""
    return gymnasium.make(
        EnvSpec("HeatedTank-v0", lambda **_: HeatedTank(), max_episode_steps=HORIZON), disable_env_checker=True
    )


def thermostat() -> Any:
    """Return its PID controller."""
    return per_lane(Thermostat)
