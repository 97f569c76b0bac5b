"""A module that registers an environment which can draw itself."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Drawn(gymnasium.Env):
    """Each step shows a number; the right action is that number. Drawn as a grey picture of odd size."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    stepped = 0

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.shown = self.np_random.uniform(-1.0, 1.0, 1).astype(np.float32)
        return self.shown, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        Drawn.stepped += 1
        error = float(abs(action[0] - self.shown[0]))
        return self.shown, -error, False, False, {"is_success": error < 0.1}

    def render(self) -> np.ndarray:
        return np.full((65, 81, 3), 128, np.uint8)


gymnasium.register("Drawn-v0", Drawn, max_episode_steps=5)
