"""ReactiveHook: what it does in each phase, and how often that is enough."""

from dataclasses import replace

import numpy as np
import pytest

from residual_rl.controllers import CONTROLLERS, make_controller
from residual_rl.controllers.hook import CLOSE, HOLD, OPEN, ReactiveHook
from residual_rl.evaluation import base_alone, evaluation_envs, roll_out
from residual_rl.residual import Composition
from residual_rl.tasks import TASKS
from residual_rl.types import Observation

BASE = ReactiveHook()
HOOK = np.array([1.10, 0.35, 0.415])  # its site
GRASP = HOOK - (0.0, 0.0, 0.05)
CUBE = np.array([1.80, 0.75, 0.425])
GOAL = np.array([1.65, 0.75, 0.42])
BEHIND = np.array([1.30, 0.70, 0.45])  # where the gripper goes to bring the head behind the cube
HELD = 0.014  # m, a finger's position around the shaft


def seen(gripper, finger, hook=HOOK, cube=CUBE, goal=GOAL):
    """One observation in which only what the controller reads is set."""
    observation = np.full((1, 40), np.nan)
    observation[0, 0:3], observation[0, 3:6], observation[0, 9], observation[0, 25:28] = gripper, cube, finger, hook
    return Observation(observation=observation, achieved_goal=np.full((1, 3), np.nan), desired_goal=np.array([goal], float))


def asked(*situation, controller=BASE, **named):
    return controller(seen(*situation, **named))[0]


def by(*offset):
    return np.array(offset)


def test_far_from_the_hook_it_travels_to_five_centimetres_above_it():
    gripper = np.array([1.34, 0.75, 0.53])
    assert asked(gripper, 0.0) == pytest.approx([*10 * (HOOK + by(0, 0, 0.05) - gripper), HOLD])


def test_above_the_hook_it_opens_first_and_goes_down_then():
    gripper = HOOK + by(0.02, 0.0, 0.2)
    assert asked(gripper, 0.0) == pytest.approx([0, 0, 0, OPEN])
    assert asked(gripper, 0.0485) == pytest.approx([0, 0, 0, OPEN])
    assert asked(gripper, 0.0495) == pytest.approx([*10 * (GRASP - gripper), HOLD])


def test_at_the_hook_it_closes_and_carries_its_head_behind_the_cube_then():
    assert asked(GRASP, 0.05) == pytest.approx([0, 0, 0, CLOSE])
    assert asked(GRASP, HELD) == pytest.approx([*10 * (BEHIND - GRASP), CLOSE])


@pytest.mark.parametrize(
    ("hook", "aligned"),
    [
        ((1.30, 0.70), True),
        ((1.39, 0.70), True),
        ((1.41, 0.70), False),  # so far that the head would lie beyond the sweep
        ((1.00, 0.70), True),  # no limit the other way
        ((1.30, 0.61), True),
        ((1.30, 0.59), False),  # not yet beside the cube
        ((1.30, 0.90), True),  # no limit the other way
    ],
)
def test_with_the_head_behind_the_cube_it_sweeps_towards_the_goal_at_two_centimetres_a_step(hook, aligned):
    hook = np.array([*hook, 0.45])
    gripper = hook - by(0.0, 0.0, 0.05)
    sweep = [-0.4, 0, 0, CLOSE]  # the goal lies straight back along x
    expected = sweep if aligned else [*10 * (BEHIND - gripper), CLOSE]
    assert asked(gripper, HELD, hook=hook) == pytest.approx(expected)


def test_it_sweeps_in_the_plane_in_the_direction_from_cube_to_goal():
    hook, goal = np.array([1.3, 0.7, 0.45]), CUBE + by(-0.3, 0.4, 0.2)
    assert asked(hook - by(0, 0, 0.05), HELD, hook=hook, goal=goal) == pytest.approx([-0.24, 0.32, 0, CLOSE])


def test_the_hook_counts_as_held_within_ten_centimetres_of_closed_fingers_even_if_they_are_empty():
    align = [*10 * (BEHIND - GRASP), CLOSE]
    for distance, finger, held in ((0.09, HELD, True), (0.09, 0.0, True), (0.09, 0.036, False), (0.11, HELD, False)):
        aside = asked(GRASP + by(distance, 0, 0), finger)
        assert np.allclose(aside, align - np.array([10 * distance, 0, 0, 0])) == held


def test_it_stands_still_once_the_cube_has_arrived_within_a_centimetre_of_axis_wise_distance():
    assert asked(GRASP, HELD, cube=GOAL + by(0.006, 0.003, 0.3)) == pytest.approx([0, 0, 0, CLOSE])
    assert asked(GRASP, HELD, cube=GOAL + by(0.006, 0.006, 0.0))[:3].any()


def test_it_reads_the_newest_frame_of_a_history():
    now = seen(GRASP, HELD)
    frame = now["observation"]
    history = Observation(**{**now, "observation": np.concatenate([frame + 1.0, frame], axis=1)})
    assert np.array_equal(BASE(history), BASE(now))


def test_its_constants_are_fields():
    gripper = np.array([1.34, 0.75, 0.53])
    halved = replace(BASE, gain=5.0)
    assert asked(gripper, 0.0, controller=halved)[:3] == pytest.approx(asked(gripper, 0.0)[:3] / 2)


def test_it_fits_hooks_alone():
    fitting = {name for name, task in TASKS.items() if CONTROLLERS["reactive-hook"].fits(task.spec)}
    assert {"hook", "noisy-hook", "noisy-hook-as-described"} <= fitting
    assert fitting.isdisjoint({"push", "slippery-push", "pick-and-place"})


@pytest.mark.parametrize(
    ("name", "episodes", "least", "most"),
    [("hook", 32, 0.9, 1.0), ("noisy-hook", 64, 0.02, 0.29)],  # 0.15 +- 3 standard deviations
)
def test_success_rates_are_the_papers(name, episodes, least, most):
    task = TASKS[name]
    envs = evaluation_envs(task, episodes, num_threads=2)
    base = base_alone(make_controller("reactive-hook", task.spec), Composition(), task.spec.action_size)
    outcome = roll_out(envs, base, list(range(episodes)))
    envs.close()
    assert least <= outcome.success_rate <= most
