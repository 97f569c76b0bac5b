"""Watching a controller or a run: content, file and errors."""

import itertools
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from test_report import write_run

from residual_rl.errors import Interrupted, ResidualRLError
from residual_rl.pictures import film, video, watch, window


@pytest.fixture
def no_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grey frames that need no OpenGL, and no display."""

    def grey(view, takes, steps, height, width):
        yield from (np.full((height, width, 3), 128, np.uint8) for _ in itertools.product(takes, steps))

    monkeypatch.setattr(watch, "render", grey)
    monkeypatch.setattr(window, "reason_for_no_window", lambda: "this is a test")


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.usefixtures("no_opengl")
def test_watch_writes_every_state_of_every_episode_and_holds_the_last(tmp_path: Path):
    progress = []
    seen = watch.watch(
        "push", episodes=2, seed=3, out=tmp_path / "film.mp4", num_threads=1, on_progress=lambda *now: progress.append(now)
    )
    shown = decoded(tmp_path / "film.mp4")
    assert seen.path == tmp_path / "film.mp4"
    assert seen.summary == "success in 2 of 2 episodes"
    assert len(shown) == 2 * (51 + 25)  # 25 steps a second
    assert shown[0].shape == (528, 640, 3)
    assert progress[0] == (0, 102)
    assert progress[-1] == (102, 102)
    differ = [np.abs(one.astype(int) - other).max() > 60 for one, other in itertools.pairwise(shown[:76])]
    assert all(differ[:50])  # the step in the caption
    assert not any(differ[50:])


@pytest.mark.usefixtures("no_opengl")
def test_watch_shows_what_a_run_delivers(tmp_path: Path):
    promoted = write_run(tmp_path / "promoted", task="push", controller="reactive-push", fixed=12, policy=True)
    show = watch._make_show("push", None, promoted, 1)
    assert show.name == "reactive-push + residual"
    assert show.policy.promoted
    kept = write_run(tmp_path / "kept", task="push", controller="reactive-push", fixed=2, broken=2, policy=True)
    assert watch._make_show("push", None, kept, 1).name == "reactive-push"
    with pytest.raises(ResidualRLError, match="was trained on 'push', not on 'slippery-push'"):
        watch.watch("slippery-push", run=promoted, out=tmp_path / "film.gif")
    assert not (tmp_path / "film.gif").exists()


@pytest.mark.usefixtures("no_opengl")
def test_strip_has_a_row_for_each_episode(tmp_path: Path):
    watch.watch("push", "zero", episodes=3, out=tmp_path / "film.png", num_threads=1)
    with Image.open(tmp_path / "film.png") as image:
        width, height = image.size
    assert width == pytest.approx(film.NUM_FRAMES * 288, rel=0.05)
    assert height == pytest.approx(3 * 216, rel=0.15)


@pytest.mark.usefixtures("no_opengl")
def test_without_a_window_a_message_gives_the_reason_and_the_file_is_named_after_task_and_controller(
    tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    lines = []
    assert watch.watch("push", "zero", episodes=1, num_threads=1, tell=lines.append).path == Path("push-zero.mp4")
    assert lines == ["cannot open a window: this is a test. Writing push-zero.mp4"]
    monkeypatch.setattr(watch, "find_spec", lambda name: None)
    assert watch.watch("push", "zero", episodes=1, num_threads=1).path == Path("push-zero.gif")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["push-zero.gif", "push-zero.mp4"]


@pytest.mark.usefixtures("no_opengl")
def test_the_name_of_the_file_is_a_single_path_component_for_any_controller(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def controller(observation):
        return np.zeros((len(observation["observation"]), 4))

    controller.__name__ = "mine/of: today"
    monkeypatch.setattr(watch, "find_spec", lambda name: None)
    assert watch.watch("push", controller, episodes=1, num_threads=1).path == Path("push-mine-of-today.gif")


@pytest.mark.parametrize(
    ("suffix", "package", "name"), [("mp4", "av", "PyAV"), ("gif", "PIL", "Pillow"), ("png", "PIL", "Pillow")]
)
def test_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch, suffix: str, package: str, name: str):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ResidualRLError, match=rf"need {name}: pip install 'residual-rl\[video\]'"):
        watch.watch("push", out=tmp_path / f"film.{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_opengl")
def test_after_an_interrupt_the_error_names_the_file_that_was_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(video, "with_caption", stopped)
    with pytest.raises(Interrupted, match=r"film\.gif was not written"):
        watch.watch("push", out=tmp_path / "film.gif", episodes=1, num_threads=1)
    assert list(tmp_path.iterdir()) == []
