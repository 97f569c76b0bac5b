"""Write demonstrations in LeRobot's format, version 3.0, without its package."""

import json
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from residual_rl.demonstrations.checking import ALONE, flat, is_image
from residual_rl.demonstrations.episodes import About, Demonstration
from residual_rl.demonstrations.lerobot_files import EXTRA, OURS
from residual_rl.demonstrations.videos import write_frames
from residual_rl.errors import DemonstrationError
from residual_rl.optional import need

CHUNK = 1000
"""Videos in a folder."""
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
COUNTERS = "frame_index", "episode_index", "index", "task_index"


def write_lerobot(about: About, episodes: Iterable[Demonstration], folder: Path) -> None:
    """Write episodes, one at a time, into a folder that exists.

    Pictures of three channels become H.264 videos, which are lossy; others, such as depth, PNG files without loss. The
    observation after the last step has no place in the format.

    Raises:
        DemonstrationError: the rate is unknown.
    """
    if not about.rate:
        raise DemonstrationError("LeRobot's format needs the rate, in steps per second: pass rate=..., --rate")
    writer = _Writer(about, folder)
    with writer:
        for episode in episodes:
            writer.add(episode)


def feature_of(entry: str, space: spaces.Box) -> str:
    """Return the name of a feature for an entry of an observation."""
    if entry == ALONE:
        return "observation.image" if is_image(space) else "observation.state"
    return f"observation.{'images.' if is_image(space) else ''}{entry.replace('/', '.')}"


class _Writer:
    """One data file with a group of rows for each episode, one video for each camera and episode."""

    def __init__(self, about: About, folder: Path):
        self._arrow, self._parquet = need("pyarrow", *EXTRA), need("pyarrow.parquet", *EXTRA)
        self.about, self.folder = about, folder
        self.names = {entry: feature_of(entry, space) for entry, space in about.entries.items()}
        self.videos = [entry for entry, space in about.entries.items() if is_image(space) and space.shape[2:] == (3,)]
        self._rows: list[dict[str, Any]] = []
        self._steps = 0
        self._file: Any = None
        self._sums: dict[str, Any] = {}

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, traceback: object) -> None:
        if self._file is not None:
            self._file.close()
        if kind is None:
            self._write_meta()

    def add(self, episode: Demonstration) -> None:
        number, steps, rate = len(self._rows), len(episode), float(self.about.rate or 0.0)
        columns: dict[str, Any] = {}
        place = {"chunk_index": number // CHUNK, "file_index": number % CHUNK}
        row: dict[str, Any] = {"episode_index": number, "tasks": [self._task], "length": steps}
        row |= {"dataset_from_index": self._steps, "dataset_to_index": self._steps + steps}
        row |= {"data/chunk_index": 0, "data/file_index": 0, "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        for entry, array in flat(episode.observations).items():
            name, space, values = self.names[entry], self.about.entries[entry], np.asarray(array[:steps])
            if entry in self.videos:
                write_frames(self.folder / VIDEO.format(video_key=name, **place), values, rate)
                row |= {f"videos/{name}/{key}": index for key, index in place.items()}
                row |= {f"videos/{name}/from_timestamp": 0.0, f"videos/{name}/to_timestamp": steps / rate}
            elif is_image(space):
                columns[name] = [{"bytes": _png(one), "path": None} for one in values]
            else:
                columns[name] = list(values.reshape(steps, -1).astype(np.float32))
                self._count(name, values.reshape(steps, -1))
        actions = np.asarray(episode.actions, np.float32).reshape(steps, -1)
        self._count("action", actions)
        columns |= {"action": list(actions), "next.reward": episode.rewards.astype(np.float32)}
        columns |= {"next.done": episode.terminations | episode.truncations}
        if episode.success is not None:
            columns["next.success"] = np.r_[np.zeros(steps - 1, bool), episode.success]
        columns |= {"timestamp": (np.arange(steps) / rate).astype(np.float32), "frame_index": np.arange(steps)}
        columns |= {"episode_index": np.full(steps, number), "index": self._steps + np.arange(steps)}
        table = self._arrow.table(columns | {"task_index": np.zeros(steps, np.int64)})
        if self._file is None:
            path = self.folder / DATA.format(chunk_index=0, file_index=0)
            path.parent.mkdir(parents=True)
            self._file = self._parquet.ParquetWriter(path, table.schema)
        self._file.write_table(table)
        self._rows.append(row)
        self._steps += steps

    @property
    def _task(self) -> str:
        return self.about.environment or "demonstrations"

    def _count(self, name: str, values: np.ndarray) -> None:
        values = values.astype(np.float64)
        old = self._sums.get(name, (0, 0.0, 0.0, np.inf, -np.inf))
        self._sums[name] = (
            old[0] + len(values),
            old[1] + values.sum(axis=0),
            old[2] + np.square(values).sum(axis=0),
            np.minimum(old[3], values.min(axis=0)),
            np.maximum(old[4], values.max(axis=0)),
        )

    def _write_meta(self) -> None:
        meta = self.folder / "meta"
        (meta / "episodes" / "chunk-000").mkdir(parents=True)
        self._parquet.write_table(
            self._arrow.Table.from_pylist(self._rows), meta / "episodes" / "chunk-000" / "file-000.parquet"
        )
        tasks = self._arrow.table({"task_index": np.zeros(1, np.int64), "task": [self._task]})
        index = {"index_columns": ["task"], "column_indexes": [], "columns": [], "pandas_version": "2.0.0"}
        self._parquet.write_table(tasks.replace_schema_metadata({"pandas": json.dumps(index)}), meta / "tasks.parquet")
        (meta / "stats.json").write_text(json.dumps({name: _statistics(sums) for name, sums in self._sums.items()}, indent=2))
        (meta / "info.json").write_text(json.dumps(self._info(), indent=2))

    def _info(self) -> dict[str, Any]:
        about, space = self.about, self.about.action_space
        features = {self.names[entry]: self._feature(entry, box) for entry, box in about.entries.items()}
        features["action"] = {"dtype": "float32", "shape": [int(np.prod(space.shape))], "names": None}
        kinds = {"next.reward": "float32", "next.done": "bool", "next.success": "bool", "timestamp": "float32"}
        kinds |= dict.fromkeys(COUNTERS, "int64")
        features |= {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in kinds.items()}
        ours: dict[str, Any] = {"entries": {feature: entry for entry, feature in self.names.items()}, "frames": about.frames}
        ours |= {"environment": about.environment, "controller": about.controller, "units": dict(about.units)}
        if np.isfinite(space.low).all() and np.isfinite(space.high).all():
            ours |= {"action_low": space.low.ravel().tolist(), "action_high": space.high.ravel().tolist()}
        return {
            "codebase_version": "v3.0",
            "robot_type": None,
            "total_episodes": len(self._rows),
            "total_frames": self._steps,
            "total_tasks": 1,
            "chunks_size": CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": about.rate if about.rate != int(about.rate or 0) else int(about.rate or 0),
            "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": DATA,
            "video_path": VIDEO if self.videos else None,
            "features": features,
            OURS: ours,
        }

    def _feature(self, entry: str, space: spaces.Box) -> dict[str, Any]:
        if not is_image(space):
            return {"dtype": "float32", "shape": [int(np.prod(space.shape))], "names": None}
        shape = [*space.shape, 1][:3]
        names = ["height", "width", "channels"]
        if entry not in self.videos:
            return {"dtype": "image", "shape": shape, "names": names}
        about = {"video.height": shape[0], "video.width": shape[1], "video.codec": "h264", "video.fps": self.about.rate}
        about |= {"video.channels": 3, "video.is_depth_map": False, "has_audio": False}
        return {"dtype": "video", "shape": shape, "names": names, "info": about}


def _png(picture: np.ndarray) -> bytes:
    image, held = need("PIL.Image", *EXTRA), BytesIO()
    image.fromarray(picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture).save(held, "PNG")
    return held.getvalue()


def _statistics(sums: Any) -> dict[str, Any]:
    count, total, squares, least, most = sums
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0.0))
    named = {"min": least, "max": most, "mean": mean, "std": deviation, "count": np.array([count])}
    return {name: values.tolist() for name, values in named.items()}
