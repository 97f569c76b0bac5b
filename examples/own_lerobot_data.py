"""Clone a base from a dataset of LeRobot with a camera, and improve it over the features of its own image network."""

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

import residual_rl

SIDE = 32


# --8<-- [start:world]
class Cart(gymnasium.Env):
    """A camera sees a cart on a rail, which is to be moved to the middle. Its speed is shown too."""

    observation_space = spaces.Dict(
        {"camera": spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8), "speed": spaces.Box(-1.0, 1.0, (1,), np.float32)}
    )
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Place the cart at random."""
        super().reset(seed=seed)
        self.steps, self.speed = 0, 0.0
        self.place = self.np_random.uniform(-1.0, 1.0)
        return self.show(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Push the cart."""
        self.speed = float(np.clip(0.5 * self.speed + 0.2 * action[0], -1.0, 1.0))
        self.place = float(np.clip(self.place + self.speed, -1.0, 1.0))
        self.steps += 1
        return self.show(), -abs(self.place), False, self.steps == 12, {"is_success": abs(self.place) < 0.1}

    def show(self) -> Any:
        """Return what the camera sees, and the speed."""
        camera = np.zeros((SIDE, SIDE, 3), np.uint8)
        left = round((self.place + 1.0) / 2.0 * (SIDE - 8))
        camera[12:20, left : left + 8] = 255
        return {"camera": camera, "speed": np.array([self.speed], np.float32)}


# --8<-- [end:world]
# --8<-- [start:collect]
def collect(folder: Path, episodes: int = 10) -> None:
    """Write what LeRobot would have recorded (version 2.1), with the names of its features: a parquet file and a video each."""
    import av
    import pyarrow
    import pyarrow.parquet

    env = Cart()
    lines = []
    for number in range(episodes):
        shown, _ = env.reset(seed=number)
        frames, states, actions = [], [], []
        for _ in range(12):
            action = np.array([np.clip(-1.5 * env.place - env.speed, -1.0, 1.0)], np.float32)
            frames.append(shown["camera"])
            states.append(shown["speed"])
            actions.append(action)
            shown, *_ = env.step(action)
        data = folder / f"data/chunk-000/episode_{number:06d}.parquet"
        film = folder / f"videos/chunk-000/observation.images.front/episode_{number:06d}.mp4"
        data.parent.mkdir(parents=True, exist_ok=True)
        film.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table({"observation.state": states, "action": actions}), data)
        with av.open(str(film), "w") as container:
            stream: Any = container.add_stream("libx264", rate=10, options={"crf": "15"})
            stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        lines.append(json.dumps({"episode_index": number, "tasks": ["to the middle"], "length": 12}))
    features = {
        "observation.images.front": {"dtype": "video", "shape": [SIDE, SIDE, 3], "names": ["height", "width", "channels"]},
        "observation.state": {"dtype": "float32", "shape": [1], "names": ["speed"]},
        "action": {"dtype": "float32", "shape": [1], "names": ["push"]},
    }
    info = {"codebase_version": "v2.1", "fps": 10, "chunks_size": 1000, "features": features}
    info["data_path"] = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    info["video_path"] = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    (folder / "meta").mkdir()
    (folder / "meta" / "episodes.jsonl").write_text("\n".join(lines))
    (folder / "meta" / "info.json").write_text(json.dumps(info))


# --8<-- [end:collect]
# --8<-- [start:clone]
NAMES = {"observation.images.front": "camera", "observation.state": "speed"}
"""What the environment calls the dataset's features."""


def main(out: str = "runs/cart", epochs: int = 40, evaluation_episodes: int = 100, width: int = 8, **settings: Any) -> Any:
    """Clone the demonstrations, and improve the clone; its image network runs once for base and residual. Return the run."""
    demonstrations, base = Path(out).with_name("demonstrations"), Path(out).with_name("base")
    if not demonstrations.exists():
        collect(demonstrations)
    clone = residual_rl.clone(
        demonstrations,
        env=Cart,
        horizon=12,
        rate=10.0,
        rename=NAMES,
        out=base,
        epochs=epochs,
        width=width,
        offsets=(0, 3),
        evaluation_episodes=evaluation_episodes,
    )
    return residual_rl.improve(Cart, clone, horizon=12, out=out, **settings)


# --8<-- [end:clone]


if __name__ == "__main__":
    main()
