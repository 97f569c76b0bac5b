"""Film strips, videos and the window. Pictures need OpenGL: without it those tests are skipped, and say what is missing."""

import itertools
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import av
import mujoco
import numpy as np
import pytest
from PIL import Image
from test_report import outcome, write_run

from residual_rl import film, rendering, video, watch, window
from residual_rl.controllers import make_controller
from residual_rl.errors import Interrupted, ResidualRLError
from residual_rl.evaluation import base_alone
from residual_rl.rendering import Take, render
from residual_rl.residual import Composition
from residual_rl.tasks import TASKS, find_task
from residual_rl.tasks.view import View
from residual_rl.video import Caption

BLUE = (0.0, 0.0, 1.0, 1.0)
BALL = """
<mujoco>
  <worldbody>
    <light pos="0 0 3"/>
    <geom type="plane" size="1 1 0.1"/>
    <body name="object0" pos="0 0 0.1"><freejoint/><geom size="{size}"/></body>
  </worldbody>
</mujoco>
"""
VIEW = View(
    lookat=(0, 0, 0), distance=1.0, azimuth=90, elevation=-60, colors={"object0": (0.95, 0.7, 0.15, 1)}, goal_radius=0.1
)
NOWHERE = np.full((3, 3), np.nan)


def ball(size: float = 0.05, x: float = 0.0, path: np.ndarray = NOWHERE) -> Take:
    """A ball that lies at x, for two steps of 20 ms."""
    model = mujoco.MjModel.from_xml_string(BALL.format(size=size))
    data = mujoco.MjData(model)
    data.qpos[0] = x
    state = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS))
    mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    physics = np.repeat(state[None], 3, axis=0)
    physics[:, 0] = 0.02 * np.arange(3)
    return Take(model, physics, np.array([0.3, 0.0, 0.3]), path, BLUE)


def draw(takes: list[Take], steps: list[int], view: View = VIEW) -> np.ndarray:
    return np.stack(list(render(view, takes, steps, 96, 128))).astype(int)


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    """Three frames `[3, H, W, 3]` of each of some takes. Drawn at once: it is the start of OpenGL that takes time."""
    moves, stays, blown_up = ball(x=0.2), ball(x=-0.2), ball()
    moves.physics[1, 1] = -0.2
    blown_up.physics[1:] = np.nan
    path = np.array([[-0.3, 0.2, 0.1], [0.0, 0.2, 0.1], [0.3, 0.2, 0.1]])
    takes = {
        "moves": moves,
        "stays": stays,
        "blown up": blown_up,
        "with path": ball(path=path),
        "large": ball(size=0.1),
        "small": ball(size=0.03),
    }
    try:
        drawn = draw(list(takes.values()), [0, 1, 2])
    except ResidualRLError as error:
        pytest.skip(str(error))
    return dict(zip(takes, drawn.reshape(-1, 3, *drawn.shape[1:]), strict=True))


@pytest.fixture
def no_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grey frames that need no OpenGL, and no display."""

    def grey(view, takes, steps, height, width):
        yield from (np.full((height, width, 3), 128, np.uint8) for _ in itertools.product(takes, steps))

    monkeypatch.setattr(watch, "render", grey)
    monkeypatch.setattr(window, "why_none", lambda: "this is a test")


def green(picture: np.ndarray) -> int:
    """Pixels in the goal's colour."""
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    return int(((green > red + 30) & (green > blue + 10)).sum())


def yellow(picture: np.ndarray) -> int:
    """Pixels in the object's colour."""
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    return int(((red > blue + 60) & (green > blue + 40)).sum())


def blue(picture: np.ndarray) -> int:
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    return int(((blue > red + 60) & (blue > green + 60)).sum())


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("task", [name for name in TASKS if not any(name.startswith(f"{other}-") for other in TASKS)])
def test_object_and_goal_are_in_the_picture(task: str):
    task = find_task(task)
    envs = task.make_envs(4, num_threads=1)
    act = base_alone(make_controller("zero", task.spec), Composition(), task.spec.action_size)
    envs.horizon = 1
    recording = film.record(envs, act, [0, 1, 2, 3], BLUE)
    takes = [recording.episode(lane).take for lane in range(4)]
    envs.close()
    for picture in render(film.view_of(task), takes, [0], 144, 192):
        assert green(picture) > 20
        assert yellow(picture) > 20


def test_frames_come_in_the_order_of_takes_and_steps(pictures: dict[str, np.ndarray]):
    assert (pictures["moves"][0] != pictures["moves"][1]).any()
    np.testing.assert_array_equal(pictures["moves"][1], pictures["stays"][1])
    np.testing.assert_array_equal(pictures["moves"][2], pictures["moves"][0])


def test_each_episode_is_drawn_with_its_own_model(pictures: dict[str, np.ndarray]):
    assert yellow(pictures["large"][0]) > 3 * yellow(pictures["small"][0]) > 0


def test_physics_that_blew_up_is_drawn_as_it_was_before(pictures: dict[str, np.ndarray]):
    start, *others = pictures["blown up"]
    for frame in others:
        np.testing.assert_array_equal(frame, start)


def test_path_is_drawn_as_far_as_the_object_has_come(pictures: dict[str, np.ndarray]):
    start, middle, end = map(blue, pictures["with path"])
    assert start == 0
    assert 0 < middle < end


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("goal", ["disc", "ball", None])
def test_goal_is_drawn_as_the_view_says(goal: str | None):
    (frame,) = draw([ball()], [0], View(**vars(VIEW) | {"goal": goal}))
    assert (green(frame) > 50) == (goal is not None)


@pytest.mark.usefixtures("pictures")
def test_next_backend_draws_where_one_does_not(monkeypatch: pytest.MonkeyPatch):
    if sys.platform != "linux":
        pytest.skip("one backend only")
    monkeypatch.setattr(rendering, "LINUX_BACKENDS", ("no-such-backend", *rendering.LINUX_BACKENDS))
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    assert len(draw([ball()], [0])) == 1


def test_without_opengl_the_reason_names_the_packages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(rendering, "LINUX_BACKENDS", ("no-such-backend",))
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(ResidualRLError, match=r"apt-get install libegl1.*no-such-backend"):
        draw([ball()], [0])
    monkeypatch.setenv("MUJOCO_GL", "disable")
    with pytest.raises(ResidualRLError, match="MUJOCO_GL=disable switches pictures off"):
        draw([ball()], [0])


def test_backend_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rendering, "_backends", lambda: ["egl"])
    monkeypatch.setattr(rendering, "FIRST_FRAME_SECONDS", 0.01)
    with pytest.raises(ResidualRLError, match=r"egl: no picture within 0\.01 s"):
        draw([ball()], [0])


def test_strips_show_the_first_episode_of_each_kind_that_does_not_begin_at_its_goal():
    base = outcome([True, True, False, False, True, True], [1, 9, np.nan, np.nan, 9, 9])
    policy = outcome([True, True, False, True, False, False], [1, 9, np.nan, 9, np.nan, np.nan])
    assert film._first_of_each(base, policy, "success") == {"kept": 1, "fixed": 3, "broken": 4}


def test_strips_of_returns_show_the_first_episode_in_which_the_policy_earns_more_and_less():
    base, policy = outcome([False] * 4), outcome([False] * 4)
    base, policy = (
        base._replace(returns=np.array([-9.0, -9.0, -9.0, -9.0])),
        policy._replace(returns=np.array([-9.0, -8, -7, -11])),
    )
    assert film._first_of_each(base, policy, "return") == {"better": 1, "worse": 3}
    assert film._first_of_each(base, base, "return") == {}


def test_words_for_what_happened():
    take, push = ball(path=np.array([[0.0, 0.0, 0.3]] * 3)), find_task("push")  # the goal is 30 cm away
    assert film.Episode(0, take, True, 7.0, -6.0).in_words(push) == "solved, first at the goal at step 7"
    assert film.Episode(0, take, False, np.nan, -50.0).in_words(push) == "failed, ends 30 cm from the goal"
    assert film.Episode(0, take, False, 7.0, -40.0).in_words(push) == "failed, passes the goal at step 7 and ends 30 cm away"
    assert film.Episode(0, take, False, np.nan, -57.25).in_words(find_task("mbrl-pusher")) == "return -57.2"
    take.physics[2] = np.nan
    assert film.Episode(0, take, False, 7.0, -40.0).in_words(push) == "failed, the physics blew up"


def test_recorded_episode_is_the_one_of_the_evaluation():
    """Success, path and physics agree with the environment stepped by hand."""
    task = find_task("push")
    controller = make_controller("reactive-push", task.spec)
    act = base_alone(controller, Composition(), task.spec.action_size)
    envs = task.make_envs(2, num_threads=1)
    recording = film.record(envs, act, [4, 5], BLUE)
    recorded = [recording.episode(lane) for lane in range(2)]
    observation, _ = envs.reset(seed=[4, 5])
    for step in range(task.spec.horizon):
        for lane in range(2):
            np.testing.assert_array_equal(recorded[lane].take.path[step], observation["achieved_goal"][lane])
        observation, *_, info = envs.step(act(observation)[1])
    np.testing.assert_array_equal([one.take.physics[-1] for one in recorded], envs.state.physics)
    np.testing.assert_array_equal([one.take.path[-1] for one in recorded], observation["achieved_goal"])
    np.testing.assert_array_equal([one.take.goal for one in recorded], observation["desired_goal"])
    assert [one.success for one in recorded] == info["is_success"].tolist()
    assert recorded[0].take.step_seconds == pytest.approx(0.04)
    envs.close()


@pytest.mark.usefixtures("pictures")
def test_strips_of_a_run_show_base_and_policy_from_the_same_state(tmp_path: Path):
    run = write_run(tmp_path / "run", controller="reactive-push", fixed=4, broken=4, policy=True)
    strips, reason = film.film_strips(run, num_frames=2)
    assert reason == ""
    (strip,) = strips  # a residual of zero fixes nothing and breaks nothing
    assert strip.kind == "kept"
    base, policy = strip.rows
    assert base.outcome == policy.outcome
    assert base.outcome.startswith("solved")
    assert base.frames.shape == (2, film.HEIGHT, film.WIDTH, 3)
    assert (base.frames[0] != base.frames[1]).any()
    np.testing.assert_array_equal(base.frames[0], policy.frames[0])


def test_run_without_pictures_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MUJOCO_GL", "off")
    run = write_run(tmp_path / "run", controller="reactive-push", fixed=4, broken=4, policy=True)
    assert film.film_strips(run) == ([], "MUJOCO_GL=off switches pictures off")


def frames(count: int) -> list[np.ndarray]:
    """Each of one grey, darker than the next."""
    return [np.full((48, 64, 3), 10 * number, np.uint8) for number in range(count)]


def test_mp4_holds_every_frame_at_its_time(tmp_path: Path):
    video.save_video(tmp_path / "film.mp4", frames(12), 25.0)
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert container.streams.video[0].average_rate == 25
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.shape(shown) == (12, 48, 64, 3)
    np.testing.assert_allclose([picture.mean() for picture in shown], 10 * np.arange(12), atol=5)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_gif_holds_every_frame_at_its_time(tmp_path: Path):
    video.save_video(tmp_path / "film.gif", [*frames(12), frames(12)[-1]], 25.0)
    with Image.open(tmp_path / "film.gif") as gif:
        durations, levels = [], []
        for number in range(gif.n_frames):
            gif.seek(number)
            durations.append(gif.info["duration"])
            levels.append(np.asarray(gif.convert("RGB")).mean())
        assert gif.size == (64, 48)
    assert durations == [40] * 11 + [80]  # equal frames become one
    np.testing.assert_allclose(levels, 10 * np.arange(12), atol=1)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_video_is_written_whole_or_not_at_all(tmp_path: Path, suffix: str):
    def interrupted():
        yield from frames(3)
        raise KeyboardInterrupt

    path = tmp_path / f"film{suffix}"
    path.write_text("what was there before")
    with pytest.raises(KeyboardInterrupt):
        video.save_video(path, interrupted(), 25.0)
    assert path.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_to_is_named_before_anything_is_drawn(tmp_path: Path):
    (tmp_path / "file").touch()

    def drawing():
        raise AssertionError("drawn")
        yield

    with pytest.raises(ResidualRLError, match=r"cannot write .*film\.gif"):
        video.save_video(tmp_path / "file" / "film.gif", drawing(), 25.0)


def test_caption_lies_below_the_frame():
    caption = Caption(("push: zero", "episode 1"), ("step 3 of 50", "solved"), success=True)
    frame = video.with_caption(frames(5)[4], caption)
    np.testing.assert_array_equal(frame[:48], frames(5)[4])
    assert frame.shape[0] > 48
    assert (frame[48:] < 128).any()


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
    show = watch._who("push", None, promoted, 1)
    assert show.name == "reactive-push + residual"
    assert show.policy.promoted
    kept = write_run(tmp_path / "kept", task="push", controller="reactive-push", fixed=2, broken=2, policy=True)
    assert watch._who("push", None, kept, 1).name == "reactive-push"
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
def test_without_a_window_it_says_so_and_names_the_file_after_task_and_controller(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    assert watch.watch("push", "zero", episodes=1, num_threads=1, tell=said.append).path == Path("push-zero.mp4")
    assert said == ["no window, because this is a test: writing push-zero.mp4"]
    monkeypatch.setattr(watch, "find_spec", lambda name: None)
    assert watch.watch("push", "zero", episodes=1, num_threads=1).path == Path("push-zero.gif")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["push-zero.gif", "push-zero.mp4"]


@pytest.mark.usefixtures("no_opengl")
def test_name_of_the_file_is_one_name_whatever_the_controller_is_called(tmp_path: Path, monkeypatch):
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
def test_interrupted_says_that_nothing_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(video, "with_caption", stopped)
    with pytest.raises(Interrupted, match=r"film\.gif was not written"):
        watch.watch("push", out=tmp_path / "film.gif", episodes=1, num_threads=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="displays are named like this on Linux")
def test_no_window_without_a_display_that_answers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    assert window.why_none() == "there is no display"
    monkeypatch.setenv("DISPLAY", ":4711")
    assert window.why_none() == "no display answers"


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


def test_window_opens_anew_for_another_model_where_the_user_left_it(windows: list[FakeWindow]):
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
from residual_rl import window
from residual_rl.rendering import Take
from residual_rl.tasks.view import View
from residual_rl.video import Caption

def take():
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><body><freejoint/><geom size='1'/></body></worldbody></mujoco>")
    physics = np.array([[0.02 * step, 0, 0, 0, 1, 0, 0, 0] + 6 * [0] for step in range(3)])
    return Take(model, physics, np.zeros(3), np.zeros((3, 3)), (0, 0, 1, 1))

assert window.why_none() == "", window.why_none()
window.HOLD_SECONDS = 0.0
window.play(View((0, 0, 0), 9, 90, -60), [(take(), 3 * [Caption(("", ""), ("", ""))]) for _ in range(2)])
print("closed")
"""
    arguments = ["xvfb-run", "-a", sys.executable, "-c", script]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "closed\n", done.stderr
