"""LeRobot's folders, versions 2.1 and 3.0, read without its package: parquet files and MP4 videos."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from residual_rl.demonstrations.checking import ALONE, unflat
from residual_rl.demonstrations.episodes import About, Demonstration, Demonstrations, episode_of
from residual_rl.demonstrations.videos import read_frames
from residual_rl.errors import DemonstrationError
from residual_rl.optional import need

EXTRA = "lerobot", "datasets in LeRobot's format"
VERSIONS = "v2.0", "v2.1", "v3.0"
PICTURES = "video", "image"
OURS = "residual_rl"
"""Key of `info.json` under which our own recordings keep what LeRobot has no place for."""


@dataclass(frozen=True)
class _Row:
    """Where an episode lies."""

    number: int
    length: int
    data: Path
    first: int | None
    """Its first row in the data file of several episodes; None if the file holds it alone."""
    videos: Mapping[str, tuple[Path, float]]
    """File and first second of each video."""


def is_lerobot(path: Path) -> bool:
    """Return whether a folder looks like LeRobot's."""
    return (path / "meta" / "info.json").is_file()


def read_lerobot(path: Path, rename: Mapping[str, str] | None = None) -> Demonstrations:
    """Return the episodes of a dataset of LeRobot on this machine.

    An entry is called like its feature without `observation.` and `images.`: `observation.images.front` is `front`. A dataset
    has neither bounds of actions nor the observation after the last step.

    Args:
        path: its folder.
        rename: entries of the environment by features, such as `{"observation.state": "observation"}`; "a/b" is b in the
            dictionary a. A single entry "observation" is an observation without keys.

    Raises:
        DemonstrationError: it is damaged, or of another version.
    """
    need("pyarrow.parquet", *EXTRA)
    info = _json(path / "meta" / "info.json")
    version = info.get("codebase_version")
    if version not in VERSIONS:
        raise DemonstrationError(f"{path} is of version {version!r} of LeRobot's format; {', '.join(VERSIONS)} are read")
    try:
        features = {key: one for key, one in info["features"].items() if key.startswith("observation.") or key == ALONE}
        shapes = {key: _shape(one) for key, one in features.items()}
        action, fps = tuple(info["features"]["action"]["shape"]), float(info["fps"])
        kinds = {key: one["dtype"] for key, one in features.items()}
        rows = _rows(path, info, [key for key, kind in kinds.items() if kind == "video"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DemonstrationError(f"{path / 'meta'} is damaged: {type(error).__name__}: {error}") from error
    ours = info.get(OURS) or {}
    names = {key: _entry(key, len(features)) for key in features} | dict(ours.get("entries", {})) | dict(rename or {})
    if unknown := set(rename or {}) - features.keys():
        raise DemonstrationError(f"{path} has no features {sorted(unknown)}; it has {sorted(features)}")
    boxes = {names[key]: _box(kinds[key], shapes[key]) for key in features}
    space: spaces.Space = boxes[ALONE] if boxes.keys() == {ALONE} else _space(boxes)
    about = About(
        space,
        _action_space(action, ours),
        str(ours.get("environment", "")),
        str(ours.get("controller", "")),
        fps,
        dict(ours.get("units", {})),
        int(ours.get("frames", 1)),
    )

    def read(number: int) -> Demonstration:
        row = rows[number]
        table = _table(row)
        arrays = {}
        for key in features:
            if kinds[key] == "video":
                file, start = row.videos[key]
                arrays[names[key]] = read_frames(file, start, row.length, fps, f"episode {row.number} of {path}")
            else:
                arrays[names[key]] = _column(table, key, kinds[key], shapes[key], row)
        rewards = None if "next.reward" not in table else _column(table, "next.reward", "float32", (), row)
        success = None if "next.success" not in table else bool(np.any(table["next.success"][-1]))
        done = None if "next.done" not in table else _column(table, "next.done", "bool", (), row).astype(bool)
        actions = _column(table, "action", "float32", action, row)
        return episode_of(unflat(arrays, space), actions, rewards, done if success else None, None, success)

    return Demonstrations(about, len(rows), read, str(path))


def _json(file: Path) -> Any:
    try:
        values = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise DemonstrationError(f"{file} is damaged: {error}") from error
    if not isinstance(values, dict):
        raise DemonstrationError(f"{file} is damaged: it is no dictionary")
    return values


def _rows(path: Path, info: dict[str, Any], videos: list[str]) -> list[_Row]:
    """Return where each episode lies."""
    template, video = info["data_path"], info.get("video_path") or ""
    if info["codebase_version"] != "v3.0":
        lines = (path / "meta" / "episodes.jsonl").read_text().splitlines()
        found = []
        for line in filter(None, lines):
            number, length = (int(json.loads(line)[key]) for key in ("episode_index", "length"))
            place = {"episode_chunk": number // int(info["chunks_size"]), "episode_index": number}
            files = {key: (path / video.format(video_key=key, **place), 0.0) for key in videos}
            found.append(_Row(number, length, path / template.format(**place), None, files))
        return found
    found = []
    for file in sorted((path / "meta" / "episodes").rglob("*.parquet")):
        for row in _read(file).to_pylist():
            place = {name: int(row[f"data/{name}"]) for name in ("chunk_index", "file_index")}
            files = {}
            for key in videos:
                where = {name: int(row[f"videos/{key}/{name}"]) for name in ("chunk_index", "file_index")}
                files[key] = path / video.format(video_key=key, **where), float(row[f"videos/{key}/from_timestamp"])
            first, length = int(row["dataset_from_index"]), int(row["length"])
            found.append(_Row(int(row["episode_index"]), length, path / template.format(**place), first, files))
    return found


def _read(file: Path, filters: Any = None) -> Any:
    parquet = need("pyarrow.parquet", *EXTRA)
    try:
        return parquet.read_table(file, filters=filters, partitioning=None)
    except Exception as error:  # pyarrow has many
        raise DemonstrationError(f"{file} is damaged: {type(error).__name__}: {error}") from error


def _table(row: _Row) -> dict[str, list[Any]]:
    """Return the columns of an episode.

    Raises:
        DemonstrationError: it has another number of rows than the metadata says.
    """
    table = _read(row.data, None if row.first is None else [("episode_index", "=", row.number)])
    if table.num_rows != row.length:
        raise DemonstrationError(
            f"lengths disagree in episode {row.number}: meta says {row.length} steps, {row.data} has {table.num_rows}"
        )
    return table.to_pydict()


def _column(table: dict[str, list[Any]], key: str, kind: str, shape: tuple[int, ...], row: _Row) -> np.ndarray:
    if key not in table:
        raise DemonstrationError(f"{row.data} has no column {key!r}; it has {sorted(table)}")
    try:
        if kind == "image":
            return np.stack([_picture(one) for one in table[key]]).reshape(-1, *shape)
        dtype = np.dtype(kind) if kind != "bool" else np.dtype(bool)
        return np.asarray(table[key], dtype).reshape(len(table[key]), *shape)
    except (ValueError, TypeError, OSError) as error:
        raise DemonstrationError(f"{key!r} of episode {row.number} in {row.data} is not of shape {shape}: {error}") from error


def _picture(value: Any) -> np.ndarray:
    image = need("PIL.Image", *EXTRA)
    return np.asarray(image.open(BytesIO(value["bytes"])))


def _shape(feature: dict[str, Any]) -> tuple[int, ...]:
    """Return the shape of an entry; of pictures `[H, W, C]`."""
    shape = tuple(int(length) for length in feature["shape"])
    if feature["dtype"] not in PICTURES or len(shape) != 3:
        return shape
    return (*shape[1:], shape[0]) if shape[0] in (1, 3) and shape[2] not in (1, 3) else shape


def _entry(feature: str, features: int) -> str:
    return feature.removeprefix("observation.").removeprefix("images.").replace(".", "/")


def _box(kind: str, shape: tuple[int, ...]) -> spaces.Box:
    if kind in PICTURES:
        return spaces.Box(0, 255, shape, np.uint8)
    return spaces.Box(-np.inf, np.inf, shape, np.float64 if kind == "float64" else np.float32)


def _space(boxes: dict[str, spaces.Box]) -> spaces.Dict:
    """Return the space of entries whose keys are joined by "/"."""
    outer: dict[str, dict[str, Any]] = {}
    for name, box in boxes.items():
        first, _, rest = name.partition("/")
        outer.setdefault(first, {})[rest] = box
    return spaces.Dict({key: inside[""] if "" in inside else _space(inside) for key, inside in outer.items()})


def _action_space(shape: tuple[int, ...], ours: dict[str, Any]) -> spaces.Box:
    low, high = (np.full(shape, bound, np.float32) for bound in (-np.inf, np.inf))
    if "action_low" in ours and "action_high" in ours:
        low, high = (np.array(ours[name], np.float32).reshape(shape) for name in ("action_low", "action_high"))
    return spaces.Box(low, high, dtype=np.float32)
