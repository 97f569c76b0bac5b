"""ReactivePickAndPlace: what it does in each phase, and how often that is enough."""

from dataclasses import replace

import numpy as np
import pytest

from residual_rl.controllers import make_controller
from residual_rl.controllers.phases import CLOSE, HOLD, OPEN
from residual_rl.controllers.pick_and_place import OSCILLATING, OSCILLATING_AS_RUN, ReactivePickAndPlace
from residual_rl.errors import ControllerError
from residual_rl.evaluation import base_alone, evaluation_envs, roll_out
from residual_rl.residual import Composition
from residual_rl.tasks import TASKS
from residual_rl.types import Observation

TUNED = ReactivePickAndPlace()
BLOCK = np.array([1.3, 0.8, 0.425])
GRASP = BLOCK + np.array([0.0, 0.0, -0.02])  # where the gripper takes it
GOAL = np.array([1.4, 0.7, 0.6])


def seen(gripper, finger, goal=GOAL):
    observation = np.zeros((1, 25))
    observation[0, 0:3], observation[0, 3:6], observation[0, 9:11] = gripper, BLOCK, finger
    return Observation(observation=observation, achieved_goal=BLOCK[None], desired_goal=np.asarray(goal)[None])


def asked(controller, *situation, **named):
    return controller(seen(*situation, **named))[0]


def test_far_from_the_block_it_travels_to_ten_centimetres_above_the_grasp():
    gripper = np.array([1.2, 0.6, 0.6])
    assert asked(TUNED, gripper, 0.0) == pytest.approx([*10 * (GRASP + np.array([0, 0, 0.1]) - gripper), HOLD])


def test_above_the_block_it_opens_first_and_goes_down_then():
    gripper = BLOCK + np.array([0.02, 0.0, 0.1])
    assert asked(TUNED, gripper, 0.0) == pytest.approx([0, 0, 0, OPEN])
    assert asked(TUNED, gripper, 0.05) == pytest.approx([*10 * (GRASP - gripper), HOLD])


def test_at_the_block_it_closes_and_then_carries_to_three_centimetres_above_the_goal():
    assert asked(TUNED, GRASP, 0.05) == pytest.approx([0, 0, 0, CLOSE])
    assert asked(TUNED, GRASP, 0.024) == pytest.approx([*10 * (GOAL + np.array([0, 0, 0.03]) - GRASP), CLOSE])


def test_at_the_goal_the_tuned_one_stands_still_and_the_oscillating_one_does_not():
    close_by = BLOCK + np.array([0.01, 0.0, 0.0])
    assert asked(TUNED, GRASP, 0.024, goal=close_by) == pytest.approx([0, 0, 0, CLOSE])
    assert asked(OSCILLATING, GRASP, 0.024, goal=close_by) == pytest.approx([0.5, 0, 2.5, CLOSE])


def test_oscillating_differs_from_tuned_in_three_constants_and_from_the_published_in_one():
    restored = replace(OSCILLATING, carry_gain=10.0, arrived_tolerance=1e-3, above_tolerance=1e-3)
    assert restored == TUNED
    assert replace(OSCILLATING, above_tolerance=5e-8) == OSCILLATING_AS_RUN


@pytest.mark.parametrize(
    ("name", "episodes", "least", "most"),
    [
        ("reactive-pick-and-place", 64, 0.95, 1.0),
        ("oscillating-pick-and-place", 128, 0.35, 0.65),  # 0.5 +- 3.4 standard deviations
    ],
)
def test_success_rates_are_the_papers(name, episodes, least, most):
    task = TASKS["pick-and-place"]
    envs = evaluation_envs(task, episodes, num_threads=2)
    outcome = roll_out(envs, base_alone(make_controller(name, task.spec), Composition(), 4), list(range(episodes)))
    envs.close()
    assert least <= outcome.success_rate <= most


def test_a_controller_for_another_kind_of_task_is_refused_with_those_that_fit():
    with pytest.raises(ControllerError, match=r"reactive-push.*another kind of task.*zero"):
        make_controller("reactive-push", TASKS["push"].spec._replace(observation_size=20, action_size=7))
