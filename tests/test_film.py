"""Pictures and film strips. Pictures need OpenGL; without it these tests are skipped with the reason."""

import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest
from test_report import outcome, write_run

from residual_rl.controllers import make_controller
from residual_rl.errors import ResidualRLError
from residual_rl.evaluation import base_alone
from residual_rl.pictures import film, rendering
from residual_rl.pictures.rendering import Take, render
from residual_rl.residual import Composition
from residual_rl.tasks import TASKS, find_task
from residual_rl.tasks.view import View

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
@pytest.mark.parametrize(
    "task",
    [
        name
        for name in TASKS
        if (view := TASKS[name].view) and view.goal and not any(name.startswith(f"{other}-") for other in TASKS)
    ],
)
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
def test_the_goal_is_drawn_in_the_form_of_the_view(goal: str | None):
    (frame,) = draw([ball()], [0], View(**vars(VIEW) | {"goal": goal}))
    assert (green(frame) > 50) == (goal is not None)


@pytest.mark.usefixtures("pictures")
def test_if_a_backend_fails_the_next_one_draws(monkeypatch: pytest.MonkeyPatch):
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
    assert film.FilmedEpisode(0, take, True, 7.0, -6.0).in_words(push) == "solved, first at the goal at step 7"
    assert film.FilmedEpisode(0, take, False, np.nan, -50.0).in_words(push) == "failed, ends 30 cm from the goal"
    assert (
        film.FilmedEpisode(0, take, False, 7.0, -40.0).in_words(push) == "failed, passes the goal at step 7 and ends 30 cm away"
    )
    assert film.FilmedEpisode(0, take, False, np.nan, -57.25).in_words(find_task("mbrl-pusher")) == "return -57.2"
    take.physics[2] = np.nan
    assert film.FilmedEpisode(0, take, False, 7.0, -40.0).in_words(push) == "failed, the physics blew up"


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


def test_a_run_without_pictures_gives_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MUJOCO_GL", "off")
    run = write_run(tmp_path / "run", controller="reactive-push", fixed=4, broken=4, policy=True)
    assert film.film_strips(run) == ([], "MUJOCO_GL=off switches pictures off")
