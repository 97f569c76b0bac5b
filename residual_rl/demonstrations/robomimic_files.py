"""robomimic's HDF5 files, which are only read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from residual_rl.demonstrations.checking import ALONE, unflat
from residual_rl.demonstrations.episodes import About, Demonstration, Demonstrations, episode_of
from residual_rl.errors import DemonstrationError
from residual_rl.optional import need

EXTRA = "demonstrations", "robomimic's files"


def read_robomimic(path: Path, rename: Mapping[str, str] | None = None) -> Demonstrations:
    """Return the episodes of a file: `data/demo_0/obs/...`, `actions`, `rewards`, `dones`.

    Args:
        path: the file.
        rename: entries of the environment by keys of `obs`.

    Raises:
        DemonstrationError: it is damaged, or holds something else.
    """
    h5py = need("h5py", *EXTRA)
    try:
        with h5py.File(path, "r") as file:
            data = file["data"]
            names = sorted(data, key=lambda name: int(name.rpartition("_")[2]))
            if not names:
                raise DemonstrationError(f"{path} holds no episodes")
            first = data[names[0]]
            names_of = dict(rename or {})
            kept = {str(key): names_of.get(key, str(key)) for key in first["obs"]}
            boxes: dict[str, Any] = {kept[key]: _box(first["obs"][key]) for key in kept}
            shape = first["actions"].shape[1:]
            environment = str(json.loads(data.attrs.get("env_args", "{}")).get("env_name", ""))
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise DemonstrationError(f"{path} is no file of robomimic that can be read: {type(error).__name__}: {error}") from error
    space: spaces.Space = boxes[ALONE] if boxes.keys() == {ALONE} else spaces.Dict(boxes)

    def read(number: int) -> Demonstration:
        try:
            with h5py.File(path, "r") as file:
                demo = file["data"][names[number]]
                arrays = {kept[key]: demo["obs"][key][()] for key in kept}
                rewards = demo["rewards"][()] if "rewards" in demo else None
                done = demo["dones"][()].astype(bool) if "dones" in demo else None
                return episode_of(unflat(arrays, space), demo["actions"][()], rewards, done)
        except (OSError, KeyError, RuntimeError) as error:
            raise DemonstrationError(f"{names[number]} in {path} is damaged: {type(error).__name__}: {error}") from error

    actions = spaces.Box(-np.inf, np.inf, shape, np.float32)
    return Demonstrations(About(space, actions, environment), len(names), read, str(path))


def _box(values: Any) -> spaces.Box:
    if values.dtype == np.uint8:
        return spaces.Box(0, 255, values.shape[1:], np.uint8)
    return spaces.Box(-np.inf, np.inf, values.shape[1:], np.float64 if values.dtype == np.float64 else np.float32)
