"""Races seen from above."""

import numpy as np
import pytest

from residual_rl.controllers import FollowTheGap, PurePursuit
from residual_rl.errors import ResidualRLError
from residual_rl.pictures import racing
from residual_rl.pictures.watch import watch
from residual_rl.tasks.racing.task import on_tracks
from residual_rl.tasks.racing.track import track_through

pytest.importorskip("matplotlib")
ANGLES = np.linspace(0, 2 * np.pi, 12, endpoint=False)
RING = track_through("ring", 2.6 * np.column_stack([np.cos(ANGLES), np.sin(ANGLES)]), np.full(12, 0.9), np.full(12, 0.9))
TASK = on_tracks("racing:ring.csv", [RING])


def into_the_wall(observation):
    return np.tile([0.0, 1.0], (len(observation["observation"]), 1))


def test_drives_are_recorded_until_each_of_them_has_ended():
    seen = racing.drives(TASK, "gap", FollowTheGap(), [0, 1]) + racing.drives(TASK, "wall", into_the_wall, [0, 1])
    for finished in seen[:2]:
        assert finished.in_words == f"{finished.race_time:.2f} s"
        assert 0.0 <= 0.02 * (len(finished.path) - 1) - finished.race_time < 0.02 + 1e-9
    for crashed in seen[2:]:
        assert crashed.collided
        assert crashed.in_words.startswith("hits a wall after ")
        steps = np.linalg.norm(np.diff(crashed.path[:, :2], axis=0), axis=1)
        assert (steps[5:] > 0.0).all()  # nothing after the end
    assert {drive.track for drive in seen} == {RING}


def test_a_picture_has_the_track_and_the_lines_in_the_colours_of_their_speeds():
    seen = racing.drives(TASK, "pursuit", PurePursuit(), [0])
    picture, begun = racing.draw([*seen, *seen]), racing.draw(seen, step=1)
    assert picture.dtype == np.uint8
    assert picture.shape[1] > 1.7 * begun.shape[1] - 100
    asphalt = (np.abs(picture.astype(int) - (217, 220, 225)).max(axis=2) < 3).mean()
    assert 0.1 < asphalt < 0.7
    spread = picture.astype(int).max(axis=2) - picture.astype(int).min(axis=2)
    assert (spread[:, : picture.shape[1] // 2] > 60).sum() > 500  # a line has colours, nothing else but the scale does


def test_watch_writes_a_row_for_each_episode(tmp_path):
    (tmp_path / "ring.csv").write_text("\n".join(f"{2.6 * np.cos(a)},{2.6 * np.sin(a)},0.9,0.9" for a in ANGLES))
    seen = watch(f"racing:{tmp_path / 'ring.csv'}", "pure-pursuit", episodes=2, out=tmp_path / "two.png")
    assert seen.path == tmp_path / "two.png"
    assert seen.summary.startswith("2 of 2 races finished, ")
    assert (tmp_path / "two.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ResidualRLError, match=r"\.png for a picture, \.mp4 or \.gif for a video"):
        watch(f"racing:{tmp_path / 'ring.csv'}", out=tmp_path / "two.txt")
