"""Minari's folders: our own format on disk, written without loss, and read whoever wrote them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from re import sub
from typing import Any

import numpy as np
from gymnasium import spaces
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as record

from residual_rl.demonstrations.episodes import About, Demonstration, Demonstrations
from residual_rl.errors import DemonstrationError
from residual_rl.optional import need
from residual_rl.storage import record_of, to_json

EXTRA = "demonstrations", "demonstrations in Minari's format"
OURS = "residual_rl"
"""Key of the metadata that Minari has no place for."""


@record(frozen=True, config=ConfigDict(extra="ignore"))
class Notes:
    """The metadata that Minari has no place for."""

    environment: str = ""
    controller: str = ""
    rate: float | None = None
    units: dict[str, str] = field(default_factory=dict)
    frames: int = 1


@dataclass(frozen=True)
class _Buffer:
    """An episode as Minari's storage takes it."""

    id: int | None
    seed: int | None
    options: None
    observations: Any
    actions: Any
    rewards: Any
    terminations: Any
    truncations: Any
    infos: Any


def write_minari(about: About, episodes: Iterable[Demonstration], folder: Path) -> None:
    """Write episodes, one at a time, into a folder that exists.

    Images are stored as they are: Minari's JPEG compression is lossy, and cannot hold depth.
    """
    minari, storage_of = need("minari", *EXTRA), need("minari.dataset.minari_storage", *EXTRA).MinariStorage
    need("h5py", *EXTRA)
    data = folder / "data"
    data.mkdir()
    storage = storage_of.new(data, about.observation_space, about.action_space, data_format="hdf5", jpeg_encoding=False)
    for episode in episodes:
        storage.update_episodes([_buffer(episode)])
    name = sub(r"[^\w-]+", "-", about.environment or "demonstrations").strip("-")
    notes = Notes(about.environment, about.controller, about.rate, dict(about.units), about.frames)
    storage.update_metadata(
        {
            "dataset_id": f"residual-rl/{name}-v0",
            "algorithm_name": about.controller,
            "minari_version": minari.__version__,
            OURS: to_json(notes),
        }
    )


def _buffer(episode: Demonstration) -> _Buffer:
    steps = len(episode)
    infos = None
    if episode.success is not None:  # Minari has infos of the reset too
        infos = {"is_success": np.r_[np.zeros(steps, bool), episode.success]}
    observations = with_last(episode.observations, steps)
    ends = episode.terminations, episode.truncations
    return _Buffer(None, episode.seed, None, observations, episode.actions, episode.rewards, *ends, infos)


def with_last(observations: Any, steps: int) -> Any:
    """Return observations `[T + 1, ...]`: Minari needs the one after the last step; if it was not recorded, the last again."""
    if isinstance(observations, dict):
        return {key: with_last(value, steps) for key, value in observations.items()}
    return observations if len(observations) > steps else np.concatenate([observations, observations[-1:]])


def read_minari(path: Path | str | Any) -> Demonstrations:
    """Return the episodes of a Minari dataset: a folder, the id of a dataset on this machine, or a `MinariDataset`.

    Raises:
        DemonstrationError: there is none, or it is damaged.
    """
    minari, storage_of = need("minari", *EXTRA), need("minari.dataset.minari_storage", *EXTRA).MinariStorage
    need("h5py", *EXTRA)
    try:
        if not isinstance(path, str | Path):
            storage, source = path.storage, str(path.spec.dataset_id)
        elif Path(path).is_dir():
            data = Path(path) / "data"
            storage, source = storage_of.read(data if data.is_dir() else path), str(path)
        else:
            storage, source = minari.load_dataset(str(path)).storage, str(path)
        metadata = storage.metadata
        total, action_space = int(metadata["total_episodes"]), metadata["action_space"]
    except Exception as error:  # Minari, h5py, Gymnasium and JSON each have their own way to say that files are wrong
        raise DemonstrationError(
            f"{path} is no Minari dataset that can be read: {type(error).__name__}: {error}; only datasets on this machine are "
            "read, `minari download` fetches others"
        ) from error
    if not isinstance(action_space, spaces.Box):
        raise DemonstrationError(f"{source} has actions in {action_space}: only those in a Box can be cloned")
    notes = record_of(Notes, metadata.get(OURS, {}), f"{source}, {OURS}")
    environment = notes.environment or _id_of(metadata.get("env_spec"))
    about = About(
        metadata["observation_space"], action_space, environment, notes.controller, notes.rate, notes.units, notes.frames
    )

    def read(number: int) -> Demonstration:
        try:
            values = next(iter(storage.get_episodes([number])))
            seed = next(iter(storage.get_episode_metadata([number]))).get("seed")
        except Exception as error:
            raise DemonstrationError(
                f"episode {number} of {source} is damaged: {type(error).__name__}: {error}. The others can still be read"
            ) from error
        return Demonstration(
            values["observations"],
            values["actions"],
            values["rewards"],
            values["terminations"].astype(bool),
            values["truncations"].astype(bool),
            _success(values["infos"] or {}),
            seed,
        )

    return Demonstrations(about, total, read, source)


def _success(infos: dict[str, Any]) -> bool | None:
    """Return whether an episode ended in success, as its infos tell it; None if they do not."""
    for key in ("is_success", "success"):
        if np.size(infos.get(key, ())):
            return bool(np.ravel(infos[key])[-1])
    return None


def _id_of(env_spec: Any) -> str:
    """Return the Gymnasium id in a serialized spec; empty if there is none."""
    if not isinstance(env_spec, str):
        return ""
    import json

    try:
        return str(json.loads(env_spec).get("id", ""))
    except (ValueError, AttributeError):
        return ""
