"""Bases cloned from demonstrations: of vectors and of images, resumed, evaluated, improved."""

import importlib
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from tiny import TINY
from worlds import BUDGET, Aim

import residual_rl
from residual_rl.clones import training
from residual_rl.clones.artefact import ImageClone, VectorClone
from residual_rl.clones.augmentation import augmented, central
from residual_rl.clones.samples import _closed, read_samples
from residual_rl.clones.settings import Cloning, form_of
from residual_rl.clones.training import batch_of
from residual_rl.demonstrations.episodes import Demonstrations, from_arrays
from residual_rl.errors import ControllerError, DemonstrationError, Interrupted
from residual_rl.imitation.cloning import read_cloned
from residual_rl.imitation.recording import record

EXAMPLES = Path(__file__).parents[1] / "examples"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(EXAMPLES))
    lamp = importlib.import_module("image_features")

SMALL: dict[str, Any] = {"epochs": 6, "hidden": (32,), "width": 4, "tell": None}


def of_aim(episodes: int = 40) -> Demonstrations:
    """Demonstrations of the right action in `Aim`."""
    rng = np.random.default_rng(0)
    shown = [rng.uniform(-1.0, 1.0, (int(rng.integers(3, 9)), 1)).astype(np.float32) for _ in range(episodes)]
    return from_arrays(({"observations": one, "actions": 1 + 2 * one} for one in shown), action_space=Aim.action_space)


@pytest.fixture(scope="module")
def lamps(tmp_path_factory: pytest.TempPathFactory) -> Demonstrations:
    pytest.importorskip("minari")
    out = tmp_path_factory.mktemp("demos") / "lamp"
    return record(lamp.Lamp, lamp.controller, episodes=24, out=out, horizon=10, tell=None)


@pytest.fixture(scope="module")
def seen(lamps: Demonstrations, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clones") / "lamp"
    residual_rl.clone(lamps, out=out, env=lamp.Lamp, horizon=10, evaluation_episodes=20, **SMALL | {"epochs": 2})
    return out


def test_a_clone_of_vectors_does_what_was_demonstrated(tmp_path: Path) -> None:
    made = residual_rl.clone(of_aim(), out=tmp_path, env=Aim, horizon=9, evaluation_episodes=50, **SMALL | {"epochs": 60})
    assert isinstance(made, VectorClone)
    shown = np.linspace(-0.9, 0.9, 7, dtype=np.float32)[:, None]
    np.testing.assert_allclose(made(shown), 1 + 2 * shown, atol=0.2)  # of a range of 4, after seconds
    result = read_cloned(tmp_path)
    assert (result.demonstrations, result.episodes, len(result.held_out_episodes)) == (40, 50, 2)
    assert result.measured is not None
    lines = (tmp_path / "epochs.csv").read_text().splitlines()
    assert len(lines) == 61
    losses = [float(line.split(",")[2]) for line in lines[1:]]
    assert losses[result.chosen_epoch] == pytest.approx(min(losses)) == pytest.approx(result.held_out_loss, rel=1e-4)


@pytest.mark.parametrize("kind", ["vectors", "images"])
def test_a_training_that_is_killed_resumes_to_the_same_weights(
    kind: str, lamps: Demonstrations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demonstrations = of_aim() if kind == "vectors" else lamps
    monkeypatch.setattr(training, "SECONDS", 0.0)

    def dies(row: Any, of: int) -> None:
        if row.epoch == 3:
            raise KeyboardInterrupt

    def stops(row: Any, of: int) -> None:
        if row.epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)

    whole = residual_rl.clone(demonstrations, out=tmp_path / "whole", **SMALL)
    with pytest.raises(Interrupted, match="the same call resumes it"):
        residual_rl.clone(demonstrations, out=tmp_path / "parts", on_epoch=stops, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        residual_rl.clone(demonstrations, out=tmp_path / "parts", on_epoch=dies, **SMALL)
    with pytest.raises(DemonstrationError, match="on other demonstrations or with other settings"):
        residual_rl.clone(demonstrations, out=tmp_path / "parts", **SMALL | {"seed": 1})
    parts = residual_rl.clone(demonstrations, out=tmp_path / "parts", **SMALL)
    assert parts.digest == whole.digest
    assert residual_rl.clone(demonstrations, out=tmp_path / "parts", **SMALL).digest == whole.digest
    with pytest.raises(DemonstrationError, match="holds a clone of other demonstrations or with other settings"):
        residual_rl.clone(demonstrations, out=tmp_path / "parts", **SMALL | {"epochs": 7})


def test_a_clone_on_a_task_of_the_library_is_improved_from_its_folder(tmp_path: Path) -> None:
    pytest.importorskip("minari")
    demonstrations, base = tmp_path / "demos", tmp_path / "base"
    record("slippery-push", episodes=12, out=demonstrations, tell=None)
    made = residual_rl.clone(demonstrations, out=base, evaluation_episodes=10, **SMALL)
    assert read_cloned(base).environment == "slippery-push"
    run = residual_rl.improve("slippery-push", str(base), out=tmp_path / "run", tell=None, **TINY)
    assert run.verdict().controller == made.__name__
    shutil.rmtree(base)
    policy = residual_rl.load(run)  # the run holds the base
    shown = {"observation": np.zeros(25), "achieved_goal": np.zeros(3), "desired_goal": np.zeros(3)}
    if policy.promoted:
        policy.scale = 0.0
    expected = made({key: one[None] for key, one in shown.items()})[0]
    np.testing.assert_allclose(policy(shown), expected.clip(-1.0, 1.0), atol=1e-6)


def stripes(steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of the lamp's size with stripes across or along, at random places, and the action that tells which."""
    rng = np.random.default_rng(seed)
    along = rng.integers(2, size=steps)
    lines = np.sin(np.arange(16) * 1.6 + rng.uniform(0.0, 6.0, (steps, 1))) > 0.0
    images = np.where(along[:, None, None] == 1, lines[:, None, :], lines[:, :, None])[..., None] * np.uint8(200)
    return images.astype(np.uint8), np.where(along == 1, 0.8, -0.8)[:, None]


def test_a_clone_of_images_learns_what_they_show(tmp_path: Path) -> None:
    parts = [stripes(10, seed) for seed in range(24)]
    held = [{"observations": images, "actions": actions} for images, actions in parts]
    made = residual_rl.clone(from_arrays(held), out=tmp_path, **SMALL | {"epochs": 30})
    shown, wanted = stripes(40, 99)
    assert np.abs(made(shown) - wanted).mean() < 0.3, "0.8 would be a guess"


def test_the_encoder_is_half_of_a_clone_of_images(seen: Path) -> None:
    made = ImageClone.load(seen)
    shown = np.stack([lamp.Lamp().reset(seed=seed)[0] for seed in range(40)])
    features = made.encoder(shown)
    assert (features.shape, features.dtype) == ((40, 32), np.float32)
    np.testing.assert_array_equal(made.act_on_features(features), made(shown))
    np.testing.assert_allclose(made.encoder(shown[3:4]), features[3:4], atol=1e-5)
    assert (seen / "clone.safetensors").stat().st_size < 300_000


def test_a_clone_of_images_is_base_and_encoder_of_a_run(seen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = BUDGET | {"horizon": 10, "steps": 320, "evaluation_interval": 10_000}
    run = residual_rl.improve(lamp.Lamp, str(seen), out=tmp_path / "run", **fields)
    policy = residual_rl.load(run)  # nothing is passed
    calls = []
    body = ImageClone.load(seen).encoder
    original = type(body).__call__
    monkeypatch.setattr(type(body), "__call__", lambda self, shown: calls.append(len(shown)) or original(self, shown))
    shown = np.stack([lamp.Lamp().reset(seed=seed)[0] for seed in range(6)])
    if policy.promoted:
        policy.scale = 0.0
    acted = policy(shown)
    assert calls == [6]
    np.testing.assert_allclose(acted, ImageClone.load(seen)(shown).clip(-1.0, 1.0), atol=1e-5)
    side = residual_rl.evaluate(lamp.Lamp, str(seen), episodes=10, horizon=10, tell=None)
    assert side.controller == ImageClone.load(seen).__name__


def test_a_damaged_clone_is_refused(seen: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(seen, broken)
    content = bytearray((broken / "clone.safetensors").read_bytes())
    content[-8] ^= 1
    (broken / "clone.safetensors").write_bytes(content)
    with pytest.raises(ControllerError, match="is damaged: it is not what was saved"):
        residual_rl.evaluate(lamp.Lamp, str(broken), episodes=4, horizon=10, tell=None)
    (broken / "clone.safetensors").write_bytes(content[:100])
    with pytest.raises(ControllerError, match="the clone cannot be used"):
        residual_rl.evaluate(lamp.Lamp, str(broken), episodes=4, horizon=10, tell=None)


def test_what_does_not_match_is_named_before_training(tmp_path: Path) -> None:
    other = of_aim().described(action_space=spaces.Box(-1.0, 1.0, (1,)), rate=50.0)
    with pytest.raises(DemonstrationError, match="bounds of actions differ"):
        residual_rl.clone(other, out=tmp_path / "x", env=Aim, **SMALL)
    with pytest.raises(DemonstrationError, match="have 50 steps a second, the environment 10"):
        residual_rl.clone(of_aim().described(rate=50.0), out=tmp_path / "x", env=Aim, rate=10.0, **SMALL)
    with pytest.raises(DemonstrationError, match="settings of cloning: epochs"):
        residual_rl.clone(of_aim(), out=tmp_path / "x", **SMALL | {"epochs": 0})
    with pytest.raises(DemonstrationError, match="gripper is component 1, but actions have 1"):
        residual_rl.clone(of_aim(), out=tmp_path / "x", gripper=1, **SMALL)
    with pytest.raises(DemonstrationError, match="one more at least is needed"):
        residual_rl.clone(from_arrays([of_aim()[0]]), out=tmp_path / "x", **SMALL)


def test_the_gripper_closes_early_and_keeps_its_state_at_zero() -> None:
    commands = np.array([0.0, 2, 0, 0, -2, 0, 0, 0, 0, 2])[:, None]
    np.testing.assert_array_equal(_closed(commands, 0, 0), [0, 0, 0, 0, 1, 1, 1, 1, 1, 0])
    np.testing.assert_array_equal(_closed(commands, 0, 2), [0, 0, 1, 1, 1, 1, 1, 0, 0, 0])


def test_samples_have_history_offsets_and_viewpoints() -> None:
    """Every pixel of an image is the number of its step, and 100 more from the other viewpoint."""
    episodes = []
    for start, steps in ((0, 6), (10, 5)):
        camera = np.broadcast_to(np.arange(start, start + steps, dtype=np.uint8)[:, None, None, None], (steps, 8, 8, 1))
        moves = np.arange(start, start + steps, dtype=np.float32)
        action = np.stack([moves, np.where(np.arange(steps) < 3, 1.0, -1.0)], axis=1)
        episodes.append({"observations": {"camera": camera, "other": camera + 100, "arm": moves[:, None]}, "actions": action})
    settings = Cloning(offsets=(0, 2), gripper=1, viewpoints=("other",), image="camera", early_closing=0, held_out=0.4)
    found = from_arrays(episodes, frames=3)
    form = form_of(found.about, settings)
    samples = read_samples(found, form, settings, lambda line: None)
    steps = np.array([0, 1, 4, 5, 6])
    batch = batch_of(samples, form, steps, 8)
    np.testing.assert_array_equal(batch.images[:5, :, 0, 0, 0], [[0, 0, 0], [0, 0, 1], [2, 3, 4], [3, 4, 5], [10, 10, 10]])
    moves = batch.targets[:5, :, 0] * samples.scales.action_scale + samples.scales.action_mean
    np.testing.assert_allclose(moves, [[0, 2], [1, 3], [4, 5], [5, 5], [10, 12]], atol=1e-5)
    np.testing.assert_array_equal(batch.closed[:5], [[0, 0], [0, 1], [1, 1], [1, 1], [0, 0]])
    np.testing.assert_array_equal(batch.weight, [1] * 5 + [0] * 3)
    drawn = batch_of(samples, form, np.arange(6), 64, np.random.default_rng(0)).images
    other = drawn[:, 0, 0, 0, 0] >= 100
    assert 0.2 < other.mean() < 0.8
    assert ((drawn >= 100) == other[:, None, None, None, None]).all(), "all frames of a sample are of one viewpoint"


def test_augmentation_moves_all_frames_alike_and_leaves_the_middle() -> None:
    import jax

    images = np.zeros((32, 2, 24, 24, 1), np.uint8)
    images[:, :, 10:14, 10:14] = 100
    seen = (np.asarray(augmented(images, (20, 20), jax.random.key(0))) * 127.5 + 127.5).round()
    assert seen.shape == (32, 20, 20, 2)
    np.testing.assert_array_equal(seen[..., 0], seen[..., 1])
    assert set(np.unique(seen)) <= {0, 100, 255}
    places = {tuple(np.argwhere(one[..., 0] == 100).mean(axis=0).round(1)) for one in seen}
    assert len(places) > 8
    assert all(5 < place < 15 for pair in places for place in pair)
    middle = (np.asarray(central(images, (20, 20))) * 127.5 + 127.5).round()
    np.testing.assert_array_equal(middle[..., 1], images[:, 1, 2:22, 2:22, 0])
