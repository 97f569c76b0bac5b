"""Demonstrations: recorded without loss, read back from each format, and refused with the reason if they are wrong."""

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from worlds import Aim

import residual_rl
from residual_rl.demonstrations.checking import check_match
from residual_rl.demonstrations.episodes import Demonstrations, from_arrays
from residual_rl.demonstrations.sources import open_demonstrations, write_demonstrations
from residual_rl.errors import DemonstrationError, UnknownName

pytest.importorskip("minari")
SIDE = 32


class Camera(gymnasium.Env):
    """Shows the two newest frames of a moving dot, stacked along the channels, and the dot's place. Succeeds by chance."""

    observation_space = spaces.Dict(
        {"camera": spaces.Box(0, 255, (SIDE, SIDE, 6), np.uint8), "place": spaces.Box(-np.inf, np.inf, (2,), np.float32)}
    )
    action_space = spaces.Box(np.array([-0.5, -2.0], np.float32), np.array([0.5, 2.0], np.float32))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        self.place = self.np_random.uniform(0.0, 1.0, 2)
        self.frames = [self.frame()] * 2
        return self.shown(), {}

    def frame(self) -> np.ndarray:
        image = np.full((SIDE, SIDE, 3), 7, np.uint8)
        row, column = (self.place * (SIDE - 1)).round().astype(int)
        image[row, column] = 255, 1, self.steps
        return image

    def shown(self) -> Any:
        return {"camera": np.concatenate(self.frames, axis=2), "place": self.place.astype(np.float32)}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place = np.clip(self.place + 0.1 * action, 0.0, 1.0)
        self.steps += 1
        self.frames = [self.frames[1], self.frame()]
        return self.shown(), 1.0, False, self.steps == 6, {"is_success": bool(self.place[0] > 0.8)}


def right(shown: Any) -> np.ndarray:
    """Always in the same direction, further than is allowed."""
    assert shown["camera"].dtype == np.uint8
    return np.tile([0.7, -1.0], (len(shown["place"]), 1))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demos") / "camera"
    residual_rl.record(
        Camera,
        right,
        episodes=5,
        out=out,
        frames=2,
        rate=10.0,
        units={"place": "m"},
        horizon=6,
        successful_only=True,
        tell=None,
    )
    return out


def replay(episode: Any) -> list[Any]:
    """What the world showed in an episode: from its seed, by its actions."""
    env = Camera()
    shown = [env.reset(seed=episode.seed)[0]]
    for action in episode.actions:
        shown.append(env.step(action)[0])
    return shown


def test_a_recording_holds_what_the_world_showed_and_did(recorded: Path) -> None:
    found = open_demonstrations(recorded)
    assert (len(found), found.about.rate, found.about.units, found.about.frames) == (5, 10.0, {"place": "m"}, 2)
    assert found.about.action_space == Camera.action_space
    for episode in found:
        assert episode.success
        assert (len(episode), episode.truncations.tolist()) == (6, [False] * 5 + [True])
        np.testing.assert_allclose(episode.actions, np.tile([0.5, -1.0], (6, 1)))  # clipped
        shown = replay(episode)
        for step in range(7):
            np.testing.assert_array_equal(episode.observations["camera"][step], shown[step]["camera"][..., 3:])
            np.testing.assert_array_equal(episode.observations["place"][step], shown[step]["place"])


def test_only_successful_episodes_are_kept_and_seeds_are_their_own(recorded: Path) -> None:
    seeds = [episode.seed for episode in open_demonstrations(recorded)]
    assert len(set(seeds)) == 5
    assert all(6_000_000 <= seed < 6_010_000 for seed in seeds)
    assert max(seeds) - 6_000_000 >= 5, "as many failed in between"


def test_minari_reads_the_folder(recorded: Path) -> None:
    import minari

    dataset = minari.MinariDataset(recorded / "data")
    assert dataset.total_episodes == 5
    assert len(next(iter(dataset.iterate_episodes())).observations["camera"]) == 7
    assert len(open_demonstrations(dataset)) == 5
    assert json.loads((recorded / "data" / "metadata.json").read_text())["jpeg_encoding"] is False


def test_a_killed_recording_resumes_without_running_an_episode_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from residual_rl.imitation import recording

    whole = residual_rl.record(Aim, lambda shown: 1 + 2 * shown, episodes=9, out=tmp_path / "whole", horizon=9, tell=None)
    monkeypatch.setattr(recording, "MOST_LANES", 2)

    def stop(line: str) -> None:
        if "4 of 9" in line:
            raise KeyboardInterrupt

    arguments: dict[str, Any] = {"episodes": 9, "out": tmp_path / "parts", "horizon": 9}
    with pytest.raises(KeyboardInterrupt):
        residual_rl.record(Aim, lambda shown: 1 + 2 * shown, tell=stop, **arguments)
    assert not (tmp_path / "parts").exists()
    with pytest.raises(DemonstrationError, match="unfinished recording with other settings"):
        residual_rl.record(Aim, lambda shown: 1 + 2 * shown, seed=1, tell=None, **arguments)
    lines: list[str] = []
    parts = residual_rl.record(Aim, lambda shown: 1 + 2 * shown, tell=lines.append, **arguments)
    assert any("6 of 9" in line for line in lines)
    assert not any("2 of 9" in line for line in lines)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.observations, other.observations)
    assert not list(tmp_path.glob(".*"))


def test_nothing_is_overwritten_and_names_are_checked(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(DemonstrationError, match="exists: choose another folder"):
        residual_rl.record(Camera, right, out=recorded, horizon=6, tell=None)
    with pytest.raises(UnknownName, match="format of demonstrations called 'rlds'"):
        residual_rl.record(Camera, right, out=tmp_path / "x", horizon=6, format="rlds", tell=None)
    with pytest.raises(DemonstrationError, match="does not report info"):
        residual_rl.record(Aim, lambda shown: shown, out=tmp_path / "x", horizon=9, successful_only=True, tell=None)


def test_damaged_files_are_named(recorded: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(recorded, broken)
    whole = (broken / "data" / "main_data.hdf5").read_bytes()
    (broken / "data" / "main_data.hdf5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DemonstrationError, match=r"episode 0 of .*broken is damaged"):
        list(open_demonstrations(broken))
    (broken / "data" / "metadata.json").write_text("{")
    with pytest.raises(DemonstrationError, match="is no Minari dataset that can be read"):
        open_demonstrations(broken)
    with pytest.raises(DemonstrationError, match=r"there is no .*none.hdf5"):
        open_demonstrations(tmp_path / "none.hdf5")


def arrays(**change: Any) -> dict[str, Any]:
    episode = {
        "observations": {"camera": np.zeros((4, 8, 8, 3), np.uint8), "arm": np.zeros((4, 2))},
        "actions": np.zeros((4, 1)),
    }
    return episode | change


def seen(**change: Any) -> dict[str, Any]:
    return arrays(observations=arrays()["observations"] | change)


BAD = {
    "lengths disagree .* 4 actions and 7 observations 'arm'": seen(arm=np.zeros((7, 2))),
    "lengths disagree .* 3 rewards": arrays(rewards=np.zeros(3)),
    r"'camera' in episode 1 .* changes its size: \(8, 8, 3\) at step 0, \(9, 8, 3\) at step 2": seen(
        camera=[np.zeros((9 if step == 2 else 8, 8, 3), np.uint8) for step in range(4)]
    ),
    r"'camera' in episode 1 .* has shape \(16, 8, 3\), its description says \(8, 8, 3\)": seen(
        camera=np.zeros((4, 16, 8, 3), np.uint8)
    ),
    "'camera' .* is float64": seen(camera=np.zeros((4, 8, 8, 3))),
    r"'action' in episode 1 .* holds nan at step 2, place \[0\]": arrays(actions=np.array([[0.0], [0.0], [np.nan], [0.0]])),
    r"action \[0\] at step 3 in episode 1 .* is 1.5, outside of the bounds \[-1, 1\]": arrays(
        actions=np.array([[0.0], [0.0], [0.0], [1.5]])
    ),
    r"'arm' .* holds inf at step 0, place \[1\]": seen(arm=np.array([[0.0, np.inf]] * 4)),
    r"shows \['arm'\]": arrays(observations={"arm": np.zeros((4, 2))}),
    "has no steps": arrays(actions=np.zeros((0, 1))),
}


@pytest.mark.parametrize("complaint", BAD)
def test_an_episode_that_is_wrong_is_named_and_the_others_can_be_read(complaint: str) -> None:
    demonstrations = from_arrays([arrays(), BAD[complaint], arrays()], action_space=spaces.Box(-1.0, 1.0, (1,)))
    with pytest.raises(DemonstrationError, match=complaint):
        list(demonstrations)
    assert len(demonstrations[2]) == 4


def matching(demonstrations: Demonstrations, observation_space: Any = None, action_space: Any = None) -> None:
    check_match(
        demonstrations.about, observation_space or Camera.observation_space, action_space or Camera.action_space, "the world"
    )


def test_a_world_that_the_demonstrations_are_not_of_is_named(recorded: Path) -> None:
    found = open_demonstrations(recorded)
    matching(found)
    place, camera = Camera.observation_space["place"], Camera.observation_space["camera"]
    with pytest.raises(DemonstrationError, match=r"show \['camera', 'place'\], but the world shows \['arm', 'camera'\]"):
        matching(found, spaces.Dict({"camera": camera, "arm": place}))
    with pytest.raises(DemonstrationError, match=r"'camera' has shape \(32, 32, 3\) .* but \(32, 32, 9\)"):
        matching(found, spaces.Dict({"camera": spaces.Box(0, 255, (SIDE, SIDE, 9), np.uint8), "place": place}))
    with pytest.raises(DemonstrationError, match="upper bounds of actions differ, so their units may"):
        matching(found, action_space=spaces.Box(np.array([-0.5, -2.0]), np.array([0.5, 1.0]), dtype=np.float64))
    with pytest.raises(DemonstrationError, match=r"actions have shape \(2,\)"):
        matching(found, action_space=spaces.Box(-1.0, 1.0, (3,)))


def test_episodes_in_memory_are_written_and_read(tmp_path: Path) -> None:
    held = from_arrays([arrays(success=True, seed=3), arrays()], rate=5.0)
    write_demonstrations(held.about, held, tmp_path / "out")
    found = open_demonstrations(tmp_path / "out")
    assert (found[0].success, found[0].seed, found[1].success, found.about.rate) == (True, 3, None, 5.0)
    assert np.isnan(found[0].rewards).all()
    assert len(found[0].observations["arm"]) == 5  # Minari's files have the one after the last step
