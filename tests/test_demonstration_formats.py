"""Datasets of LeRobot and robomimic, made here, read without their packages."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from residual_rl.demonstrations.episodes import Demonstrations, from_arrays
from residual_rl.demonstrations.sources import open_demonstrations, write_demonstrations
from residual_rl.errors import DemonstrationError

parquet = pytest.importorskip("pyarrow.parquet")
arrow = pytest.importorskip("pyarrow")
av = pytest.importorskip("av")
h5py = pytest.importorskip("h5py")
SIDE = 32


def smooth(steps: int, shade: int) -> np.ndarray:
    """Images that a video keeps: a shade of gray that grows with the step."""
    level = (shade + 12 * np.arange(steps)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(level[:, None, None, None], (steps, SIDE, SIDE, 3)))


def made() -> Demonstrations:
    """Two episodes with a camera, a depth image and a vector."""
    rng = np.random.default_rng(0)
    episodes = []
    for steps, shade in ((5, 10), (7, 100)):
        depth = rng.integers(0, 255, (steps, SIDE, SIDE, 1), dtype=np.uint8)
        seen = {
            "camera": smooth(steps, shade),
            "depth": depth,
            "arm": {"joints": rng.normal(size=(steps, 2)).astype(np.float32)},
        }
        action = rng.uniform(-1.0, 1.0, (steps, 3)).astype(np.float32)
        episodes.append({"observations": seen, "actions": action, "rewards": np.arange(steps), "success": shade == 100})
    bounds = spaces.Box(-1.0, 1.0, (3,))
    return from_arrays(episodes, action_space=bounds, rate=10.0, units={"arm/joints": "rad"}, environment="mine-v0", frames=2)


@pytest.fixture(scope="module")
def version3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lerobot") / "v3"
    write_demonstrations(made().about, made(), out, "lerobot")
    return out


def test_what_is_written_in_lerobots_format_is_read_back(version3: Path) -> None:
    found, wanted = open_demonstrations(version3), made()
    about = found.about
    assert (about.rate, about.units, about.environment, about.frames) == (10.0, {"arm/joints": "rad"}, "mine-v0", 2)
    assert about.action_space == wanted.about.action_space
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.rewards, other.rewards)
        np.testing.assert_array_equal(one.observations["arm"]["joints"], other.observations["arm"]["joints"])
        np.testing.assert_array_equal(one.observations["depth"], other.observations["depth"])  # without loss
        assert np.abs(one.observations["camera"].astype(int) - other.observations["camera"]).max() <= 4
        assert bool(one.success) == other.success
    info = json.loads((version3 / "meta" / "info.json").read_text())
    assert (info["codebase_version"], info["total_frames"], info["fps"]) == ("v3.0", 12, 10)
    stats = json.loads((version3 / "meta" / "stats.json").read_text())
    every = np.concatenate([episode.actions for episode in wanted])
    np.testing.assert_allclose(stats["action"]["std"], every.std(axis=0), rtol=1e-4)


def video(path: Path, frames: Any, size: tuple[int, int] = (SIDE, SIDE)) -> None:
    from residual_rl.demonstrations.videos import write_frames

    write_frames(path, frames, 10.0)


def joined(folder: Path, version3: Path) -> Path:
    """The same dataset with both episodes in one video, as LeRobot writes it."""
    shutil.copytree(version3, folder)
    videos = folder / "videos" / "observation.images.camera" / "chunk-000"
    for file in videos.iterdir():
        file.unlink()
    video(videos / "file-000.mp4", np.concatenate([smooth(5, 10), smooth(7, 100)]))
    file = folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    rows = parquet.read_table(file).to_pylist()
    name = "videos/observation.images.camera"
    rows[1] |= {f"{name}/file_index": 0, f"{name}/from_timestamp": 0.5, f"{name}/to_timestamp": 1.2}
    parquet.write_table(arrow.Table.from_pylist(rows), file)
    return folder


def test_an_episode_is_found_in_a_video_of_several(version3: Path, tmp_path: Path) -> None:
    found = open_demonstrations(joined(tmp_path / "joined", version3))
    for one, other in zip(found, made(), strict=True):
        assert np.abs(one.observations["camera"].astype(int) - other.observations["camera"]).max() <= 4


def version2(folder: Path) -> Path:
    """A dataset of version 2.1, as another program would have written it: names of LeRobot, channels first."""
    meta = folder / "meta"
    meta.mkdir(parents=True)
    vector = {"dtype": "float32", "names": None}
    features = {
        "observation.images.front": {"dtype": "video", "shape": [3, SIDE, SIDE], "names": ["channels", "height", "width"]},
        "observation.state": vector | {"shape": [2]},
        "action": vector | {"shape": [3]},
    }
    info = {"codebase_version": "v2.1", "fps": 10, "chunks_size": 1000, "features": features}
    info["data_path"] = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    info["video_path"] = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    (meta / "info.json").write_text(json.dumps(info))
    lines = []
    for number, episode in enumerate(made()):
        lines.append(json.dumps({"episode_index": number, "tasks": ["pick"], "length": len(episode)}))
        data = folder / f"data/chunk-000/episode_{number:06d}.parquet"
        data.parent.mkdir(parents=True, exist_ok=True)
        columns = {"observation.state": list(episode.observations["arm"]["joints"]), "action": list(episode.actions)}
        parquet.write_table(arrow.table(columns), data)
        video(folder / f"videos/chunk-000/observation.images.front/episode_{number:06d}.mp4", episode.observations["camera"])
    (meta / "episodes.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_version_2_1_is_read_and_its_entries_are_renamed(tmp_path: Path) -> None:
    folder = version2(tmp_path / "v2")
    found = open_demonstrations(folder)
    assert found.about.entries.keys() == {"front", "state"}
    assert found.about.entries["front"].shape == (SIDE, SIDE, 3)
    assert not np.isfinite(found.about.action_space.high).any()
    renamed = open_demonstrations(
        folder, rename={"observation.state": "arm/joints", "observation.images.front": "camera"}, environment="mine-v0"
    )
    assert renamed.about.environment == "mine-v0"
    for one, other in zip(renamed, made(), strict=True):
        np.testing.assert_array_equal(one.observations["arm"]["joints"], other.observations["arm"]["joints"])
        assert np.abs(one.observations["camera"].astype(int) - other.observations["camera"]).max() <= 4
    with pytest.raises(DemonstrationError, match=r"has no features \['observation.arm'\]"):
        open_demonstrations(folder, rename={"observation.arm": "arm"})


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-400])


def resized(file: Path) -> None:
    """A stream of H.264 whose pictures change their size in the middle."""
    parts = []
    for side in (SIDE, 2 * SIDE):
        part = file.with_suffix(f".{side}.h264")
        with av.open(str(part), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.height = stream.width = side
            stream.pix_fmt = "yuv420p"
            for shade in (10, 20, 30):
                frame = av.VideoFrame.from_ndarray(np.full((side, side, 3), shade, np.uint8), format="rgb24")
                for packet in stream.encode(frame):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
        parts.append(part.read_bytes())
        part.unlink()
    file.write_bytes(b"".join(parts))


DAMAGES: dict[str, Any] = {
    "is damaged after 0 of 5 frames": lambda file: file.write_bytes(b"not a video" * 100),
    "(is damaged after|is too short)": cut,
    "is too short: it has 3 of 5 frames": lambda file: video(file, smooth(3, 10)),
    r"changes its size: \(32, 32\) at frame 0, \(64, 64\) at frame 3": resized,
    "there is no video": lambda file: file.unlink(),
}


@pytest.mark.parametrize("complaint", DAMAGES)
def test_a_video_that_cannot_be_used_is_named_and_other_episodes_are_read(complaint: str, tmp_path: Path) -> None:
    folder = version2(tmp_path / "v2")
    DAMAGES[complaint](folder / "videos/chunk-000/observation.images.front/episode_000000.mp4")
    found = open_demonstrations(folder)
    with pytest.raises(DemonstrationError, match=f"episode 0 of .*{complaint}") as error:
        found[0]
    assert "episode_000000.mp4" in str(error.value)
    assert len(found[1]) == 7


def test_lengths_that_disagree_and_damaged_tables_are_named(version3: Path, tmp_path: Path) -> None:
    folder = version2(tmp_path / "v2")
    lines = (folder / "meta" / "episodes.jsonl").read_text().replace('"length": 7', '"length": 8')
    (folder / "meta" / "episodes.jsonl").write_text(lines)
    with pytest.raises(DemonstrationError, match=r"lengths disagree in episode 1: meta says 8 steps, .*000001.parquet has 7"):
        open_demonstrations(folder)[1]
    cut(folder / "data/chunk-000/episode_000000.parquet")
    with pytest.raises(DemonstrationError, match=r"000000.parquet is damaged"):
        open_demonstrations(folder)[0]
    info = json.loads((folder / "meta" / "info.json").read_text())
    (folder / "meta" / "info.json").write_text(json.dumps(info | {"codebase_version": "v1.6"}))
    with pytest.raises(DemonstrationError, match=r"version 'v1.6' of LeRobot's format; v2.0, v2.1, v3.0 are read"):
        open_demonstrations(folder)
    (folder / "meta" / "info.json").write_text(json.dumps({"codebase_version": "v2.1"}))
    with pytest.raises(DemonstrationError, match="meta is damaged: KeyError"):
        open_demonstrations(folder)
    with pytest.raises(DemonstrationError, match="LeRobot's format needs the rate"):
        write_demonstrations(made().described(rate=None).about, made(), tmp_path / "out", "lerobot")
    assert not (tmp_path / "out").exists()


def test_a_file_of_robomimic_is_read(tmp_path: Path) -> None:
    path = tmp_path / "low_dim.hdf5"
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift"})
        for number in (0, 10, 2):
            demo = data.create_group(f"demo_{number}")
            demo["obs/robot0_eef_pos"] = np.full((4, 3), float(number))
            demo["obs/agentview_image"] = np.zeros((4, 16, 16, 3), np.uint8)
            demo["actions"] = np.zeros((4, 7))
            demo["rewards"], demo["dones"] = np.array([0, 0, 0, 1.0]), np.array([0, 0, 0, 1])
    found = open_demonstrations(path, rename={"robot0_eef_pos": "gripper"})
    assert (len(found), found.about.environment) == (3, "Lift")
    assert [episode.observations["gripper"][0, 0] for episode in found] == [0.0, 2.0, 10.0]
    assert found[0].terminations.tolist() == [False] * 3 + [True]
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DemonstrationError, match="is no file of robomimic that can be read"):
        open_demonstrations(path)
