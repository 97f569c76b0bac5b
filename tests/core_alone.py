"""Improves a controller with nothing but the core installed: no simulator, no extra. Run by itself, not by pytest.

    python tests/core_alone.py

CI runs it in a fresh environment with the built wheel, and `test_core.py` where MuJoCo cannot be imported.
"""

import importlib.util
import sys
import tempfile
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium import spaces

import residual_rl
from residual_rl.errors import ResidualRLError

STEPS = 400


class Point(gymnasium.Env):
    """A point on a line that is to be brought to 0."""

    observation_space = spaces.Box(-2.0, 2.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = self.np_random.uniform(-1.0, 1.0, 1).astype(np.float32)
        return self.position.copy(), {}

    def step(self, action):
        self.position = np.clip(self.position + 0.1 * np.asarray(action, np.float32), -2.0, 2.0)
        return self.position.copy(), -float(np.abs(self.position[0])), False, False, {}


def too_slow(observation):
    return -0.3 * observation


def complaint(ask):
    try:
        ask()
    except ResidualRLError as error:
        return str(error)
    return "none"


def main():
    assert importlib.util.find_spec("mujoco") is None, "MuJoCo is installed: nothing is shown"
    assert importlib.util.find_spec("gymnasium_robotics") is None
    with tempfile.TemporaryDirectory() as folder:
        run = residual_rl.improve(
            Point, controller=too_slow, horizon=20, steps=STEPS, seed=0, out=Path(folder) / "run", evaluation_episodes=20
        )
        print(run.verdict())
        print(residual_rl.diagnose(run))
        print(residual_rl.evaluate(Point, too_slow, horizon=20, episodes=20))
        print(residual_rl.reevaluate(run, too_slow, env=Point, episodes=20))
        residual_rl.export(run, Path(folder) / "bundle")
        assert (Path(folder) / "bundle").is_dir()
    for ask in (
        lambda: residual_rl.evaluate("push", episodes=1),
        lambda: residual_rl.improve("slippery-push", steps=STEPS),
        lambda: gymnasium.make("residual_rl/Push-v0"),
        lambda: gymnasium.make_vec("residual_rl/Push-v0", 2),
        lambda: residual_rl.evaluate("residual_rl/NoisyHook-v0", episodes=1),
    ):
        assert "pip install 'residual-rl[tasks]'" in complaint(ask)
    assert not {"mujoco", "gymnasium_robotics"} & sys.modules.keys()


if __name__ == "__main__":
    main()
