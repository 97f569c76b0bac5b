"""The window: whether it opens, what it shows and when. Most tests use a stand-in for MuJoCo's viewer."""

import itertools
import shutil
import subprocess
import sys
from contextlib import nullcontext

import mujoco
import pytest
from test_film import VIEW, ball

from residual_rl.pictures import window
from residual_rl.pictures.rendering import Take
from residual_rl.pictures.video import Caption


@pytest.mark.skipif(sys.platform != "linux", reason="displays are named like this on Linux")
def test_no_window_without_a_display_that_answers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    assert window.reason_for_no_window() == "there is no display"
    monkeypatch.setenv("DISPLAY", ":4711")
    assert window.reason_for_no_window() == "the display does not respond"


class Clock:
    """A time that passes by sleeping alone."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeWindow:
    """Stands for MuJoCo's viewer: notes what it shows and when, and takes its time for that."""

    seconds_to_draw = 0.0

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, clock: Clock):
        self.m, self.d, self.cam, self.user_scn = model, data, mujoco.MjvCamera(), mujoco.MjvScene(model, 100)
        self.clock = clock
        self.shown: list[tuple[float, str, float]] = []
        self.closed = False

    def lock(self):
        return nullcontext()

    def set_texts(self, texts):
        self.text = texts[3].strip()

    def sync(self):
        self.shown.append((self.d.time, self.text, self.clock.now))
        self.clock.sleep(self.seconds_to_draw)

    def is_running(self):
        return not self.closed

    def close(self):
        self.closed = True


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[FakeWindow]:
    """Those that were opened."""
    from mujoco import viewer

    opened: list[FakeWindow] = []
    clock = Clock()

    def launch(model, data, **options):
        opened.append(FakeWindow(model, data, clock))
        return opened[-1]

    monkeypatch.setattr(viewer, "launch_passive", launch)
    monkeypatch.setattr(window, "time", clock)
    return opened


def captions(take: Take) -> list[Caption]:
    return [Caption(("", ""), (f"step {step}", "")) for step in range(len(take.physics))]


def test_window_shows_episodes_at_real_speed(windows: list[FakeWindow], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FakeWindow, "seconds_to_draw", 0.005)
    take = ball()
    window.play(VIEW, [(take, captions(take)), (take, captions(take))])
    (only,) = windows
    states, texts, times = zip(*only.shown, strict=True)
    assert states == pytest.approx([0.0, 0.02, 0.04] * 2)
    assert texts == ("step 0", "step 1", "step 2") * 2
    second = 0.06 + window.HOLD_SECONDS
    assert times == pytest.approx([0.0, 0.02, 0.04, second, second + 0.02, second + 0.04])
    assert only.closed


def test_window_that_is_slow_leaves_states_out(windows: list[FakeWindow], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FakeWindow, "seconds_to_draw", 0.05)
    take = ball()
    window.play(VIEW, [(take, captions(take))])
    assert [text for _, text, _ in windows[0].shown] == ["step 0", "step 2"]


def test_the_window_reopens_for_another_model_with_the_users_camera(windows: list[FakeWindow]):
    first, second = ball(), ball()

    def episodes():
        yield first, captions(first)
        windows[0].cam.distance = 3.0
        yield second, captions(second)

    window.play(VIEW, episodes())
    assert len(windows) == 2
    assert windows[0].closed
    assert windows[1].cam.distance == 3.0
    assert windows[1].cam.elevation == VIEW.elevation


def test_closing_the_window_ends_it(windows: list[FakeWindow], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FakeWindow, "is_running", lambda self: not self.closed and len(self.shown) < 2)
    take = ball()
    window.play(VIEW, ((take, captions(take)) for _ in itertools.count()))
    assert len(windows[0].shown) == 2


@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="needs a display to try on: apt-get install xvfb")
def test_real_windows_open_and_close():
    script = """
import mujoco, numpy as np
from residual_rl.pictures import window
from residual_rl.pictures.rendering import Take
from residual_rl.tasks.view import View
from residual_rl.pictures.video import Caption

def take():
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><body><freejoint/><geom size='1'/></body></worldbody></mujoco>")
    physics = np.array([[0.02 * step, 0, 0, 0, 1, 0, 0, 0] + 6 * [0] for step in range(3)])
    return Take(model, physics, np.zeros(3), np.zeros((3, 3)), (0, 0, 1, 1))

assert window.reason_for_no_window() == "", window.reason_for_no_window()
window.HOLD_SECONDS = 0.0
window.play(View((0, 0, 0), 9, 90, -60), [(take(), 3 * [Caption(("", ""), ("", ""))]) for _ in range(2)])
print("closed")
"""
    arguments = ["xvfb-run", "-a", sys.executable, "-c", script]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "closed\n", done.stderr
