"""Clone a base from demonstrations in Minari's format, and improve it: a point that is to be moved to the origin."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

import residual_rl


# --8<-- [start:world]
class Point(gymnasium.Env):
    """Move a point in a plane to the origin within 20 steps."""

    observation_space = spaces.Box(-2.0, 2.0, (2,), np.float32)
    action_space = spaces.Box(-0.2, 0.2, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Place the point at random."""
        super().reset(seed=seed)
        self.steps = 0
        self.place = self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)
        return self.place, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move the point."""
        self.place = (self.place + action).clip(-2.0, 2.0).astype(np.float32)
        self.steps += 1
        distance = float(np.linalg.norm(self.place))
        return self.place, -distance, False, self.steps == 20, {"is_success": distance < 0.05}


# --8<-- [end:world]
# --8<-- [start:collect]
def collect(folder: Path, episodes: int = 12) -> None:
    """Write what any program could have written with Minari: here a person who steers by hand, not very well."""
    from minari.data_collector.episode_buffer import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    env, rng = Point(), np.random.default_rng(0)
    folder.mkdir(parents=True)
    storage = MinariStorage.new(folder / "data", env.observation_space, env.action_space, jpeg_encoding=False)
    for number in range(episodes):
        shown, _ = env.reset(seed=number)
        observations, actions, rewards, infos = [shown], [], [], [False]
        for _ in range(20):
            action = (-0.3 * shown + rng.normal(0.0, 0.02, 2)).clip(-0.2, 0.2).astype(np.float32)
            shown, reward, _, _, info = env.step(action)
            observations.append(shown)
            actions.append(action)
            rewards.append(reward)
            infos.append(info["is_success"])
        ends = [False] * 19 + [True]
        episode = EpisodeBuffer(
            None, number, None, observations, actions, rewards, [False] * 20, ends, {"is_success": np.array(infos)}
        )
        storage.update_episodes([episode])
    storage.update_metadata({"dataset_id": "point/by-hand-v0", "minari_version": "0.5.4"})


# --8<-- [end:collect]
# --8<-- [start:clone]
def main(out: str = "runs/point", epochs: int = 100, evaluation_episodes: int = 100, **settings: Any) -> Any:
    """Clone the demonstrations, and improve the clone; return the run."""
    demonstrations, base = Path(out).with_name("demonstrations"), Path(out).with_name("base")
    if not demonstrations.exists():
        collect(demonstrations)
    clone = residual_rl.clone(
        demonstrations, env=Point, horizon=20, out=base, epochs=epochs, evaluation_episodes=evaluation_episodes
    )
    return residual_rl.improve(Point, clone, horizon=20, out=out, **settings)


# --8<-- [end:clone]


if __name__ == "__main__":
    main()
