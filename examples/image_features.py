"""A controller that sees a camera image, improved over features that an encoder makes of it."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

import residual_rl

SIDE = 16
"""Pixels of an image."""


# --8<-- [start:world]
class Lamp(gymnasium.Env):
    """A camera sees a lamp on a rail. It is to be moved to the middle; its height in the image differs between episodes."""

    observation_space = spaces.Box(0, 255, (SIDE, SIDE, 1), np.uint8)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Place the lamp at random."""
        super().reset(seed=seed)
        self.steps = 0
        self.place = self.np_random.uniform(-1.0, 1.0)
        self.height = int(self.np_random.integers(SIDE))
        return self.image(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move the lamp along the rail."""
        self.place = float(np.clip(self.place + 0.5 * action[0], -1.0, 1.0))
        self.steps += 1
        return self.image(), -abs(self.place), False, self.steps == 10, {}

    def image(self) -> Any:
        """Return what the camera shows."""
        image = np.zeros((SIDE, SIDE, 1), np.uint8)
        image[self.height, round((self.place + 1.0) / 2.0 * (SIDE - 1))] = 255
        return image


# --8<-- [end:world]
# --8<-- [start:controller]
def controller(images: np.ndarray) -> np.ndarray:
    """Move the lamp to the middle, but pull to one side: to the right in the upper half, to the left in the lower half."""
    brightest = images.reshape(len(images), -1).argmax(axis=1)
    height, column = np.divmod(brightest, SIDE)
    place = 2.0 * column / (SIDE - 1) - 1.0
    return (-2.0 * place + np.where(height < SIDE / 2, 0.8, -0.8))[:, None]


# --8<-- [end:controller]
# --8<-- [start:encoder]
def encoder(images: np.ndarray) -> np.ndarray:
    """The centre of brightness: `[B, 16, 16, 1] uint8 -> [B, 2] float32`."""
    light = images[..., 0].astype(np.float32)
    total = light.sum(axis=(1, 2)).clip(1e-6)
    pixels = np.linspace(-1.0, 1.0, SIDE, dtype=np.float32)
    return np.stack([light.sum(axis=2) @ pixels, light.sum(axis=1) @ pixels], axis=1) / total[:, None]


# --8<-- [end:encoder]
# --8<-- [start:improve]
def main(out: str | Path = "runs/lamp", **settings: Any) -> Any:
    """Improve the controller, and return the policy: a function of images, as the controller is."""
    run = residual_rl.improve(Lamp, controller, encoder=encoder, horizon=10, out=out, **settings)
    return residual_rl.load(run, controller, encoder=encoder)


# --8<-- [end:improve]


if __name__ == "__main__":
    main()
