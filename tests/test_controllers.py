"""Every controller: batched, pure, finite. ReactivePush: what it does where, and how often that is enough."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from representatives import REPRESENTATIVES

from residual_rl.controllers import (
    CONTROLLERS,
    DiscreteMPC,
    ReactivePush,
    Zero,
    batched,
    can_be_requeried,
    make_controller,
    name_of,
    propose,
    reads_goal,
    reads_state,
    start_episodes,
)
from residual_rl.errors import ControllerError, UnknownName
from residual_rl.evaluation import base_alone, evaluation_envs, roll_out
from residual_rl.residual import Composition
from residual_rl.tasks import TASKS
from residual_rl.types import Observation, map_observation, select, without_state

pairs = pytest.mark.parametrize(
    ("task", "name"),
    [
        pytest.param(task, name, id=f"{task.name}-{name}")
        for task in REPRESENTATIVES.values()
        for name in CONTROLLERS
        if CONTROLLERS[name].fits(task.spec) and not CONTROLLERS[name].is_prepared
    ],
)


@pytest.fixture(scope="module")
def seen():
    """Observations of each task along episodes of its default controller, with some noise: `[B]` of many moments."""
    rng = np.random.default_rng(0)
    observations = {}
    for task in REPRESENTATIVES.values():
        controller = make_controller(task.default_controller, task.spec, 2)
        envs = task.make_envs(8, num_threads=2, autoreset_mode=AutoresetMode.DISABLED, with_state=True)
        moments = [envs.reset(seed=0)[0]]
        for _ in range(24 if can_be_requeried(controller) else 6):
            action = controller(moments[-1]) + rng.normal(scale=0.3, size=(8, task.spec.action_size))
            moments.append(envs.step(action)[0])
        envs.close()
        observations[task.name] = map_observation(lambda *arrays: np.concatenate(arrays), *moments)
    return observations


@pytest.fixture
def house(seen):
    """A controller and observations to ask it about; few of them, spread over the episodes, if it is slow."""

    def of(task, name):
        controller, observation = make_controller(name, task.spec, 2), seen[task.name]
        few = np.linspace(0, len(observation["observation"]) - 1, 6).astype(int)
        return controller, observation if can_be_requeried(controller) else select(observation, few)

    return of


# --- house rules ---


@pairs
def test_a_batch_is_answered_like_its_rows_one_by_one(house, task, name):
    controller, observation = house(task, name)
    together = controller(observation)
    size = len(observation["observation"])
    alone = [controller(select(observation, slice(row, row + 1)))[0] for row in range(size)]
    assert together.shape == (size, task.spec.action_size)
    assert np.isfinite(together).all()
    assert np.array_equal(together, alone)


@pairs
def test_asking_is_pure(house, task, name):
    controller, observation = house(task, name)
    kept = {key: value.copy() for key, value in observation.items()}
    first = controller(observation)
    controller(select(observation, slice(3, 5)))
    second = controller(observation)
    assert np.array_equal(first, second)
    assert not np.shares_memory(first, second)
    assert all(np.array_equal(observation[key], kept[key]) for key in kept)
    assert not any(np.shares_memory(first, value) for value in observation.values())


EPISODES = {
    "zero": ("push", "reactive-push"),
    "reactive-push": ("push", "reactive-push"),
    "discrete-mpc": ("push", "discrete-mpc"),
    "reactive-pick-and-place": ("pick-and-place", "reactive-pick-and-place"),
    "oscillating-pick-and-place": ("pick-and-place", "reactive-pick-and-place"),
    "oscillating-pick-and-place-as-run": ("pick-and-place", "reactive-pick-and-place"),
    "reactive-hook": ("hook", "reactive-hook"),
    "pure-pursuit": ("racing", "pure-pursuit"),
    "racing-line": ("racing", "racing-line"),
    "follow-the-gap": ("racing", "follow-the-gap"),
    "potential-field": ("racing", "potential-field"),
    "script-pick": ("pick-state", "zero"),
    "script-bowl": ("bowl-state", "zero"),
    "script-place-push": ("place-push-state", "zero"),
}
"""Controller: a task and a driver whose episodes reach every phase, also those in which the controller reads the goal."""


@pytest.mark.parametrize("name", [name for name, entry in CONTROLLERS.items() if not entry.is_prepared])
def test_a_controller_reads_the_goal_exactly_if_it_declares_so(name):
    task, driver = TASKS[EPISODES[name][0]], EPISODES[name][1]
    controller, driving = make_controller(name, task.spec, 2), make_controller(driver, task.spec, 2)
    lanes = 8 if can_be_requeried(controller) else 2
    envs = task.make_envs(lanes, num_threads=2, autoreset_mode=AutoresetMode.DISABLED, with_state=True)
    observation, _ = envs.reset(seed=0)
    other = make_controller(name, task.spec, 2)  # one that is stateful must not be asked twice
    start_episodes(controller, lanes)
    start_episodes(other, lanes)
    reads = False
    for _ in range(min(task.spec.horizon, 150)):
        elsewhere = Observation(**{**observation, "desired_goal": observation["desired_goal"] + 0.1})
        reads = not np.array_equal(controller(observation), other(elsewhere))
        if reads:
            break
        observation = envs.step(driving(observation))[0]
    envs.close()
    assert reads == reads_goal(controller)


@pairs
def test_a_controller_that_does_not_declare_it_reads_the_state_does_not_need_it(house, task, name):
    controller, observation = house(task, name)
    if reads_state(controller):
        with pytest.raises(ControllerError, match="with_state=True"):
            propose(controller, without_state(observation), task.spec.action_size)
    else:
        assert np.array_equal(controller(without_state(observation)), controller(observation))


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_tasks_default_controller_exists(task):
    assert task.default_controller in CONTROLLERS


def test_an_unknown_name_is_answered_with_those_that_exist():
    with pytest.raises(UnknownName, match=r"'reactive-pusch'.*Did you mean 'reactive-push'\?.*zero"):
        make_controller("reactive-pusch", TASKS["push"].spec)


# --- ReactivePush, branch by branch ---


def moment(gripper, block, goal):
    """One observation in which only what the controller reads is set."""
    observation = np.full((1, 25), np.nan)
    observation[0, 0:3], observation[0, 3:6] = gripper, block
    return Observation(observation=observation, achieved_goal=np.full((1, 3), np.nan), desired_goal=np.array([goal], float))


BLOCK = (1.3, 0.75, 0.425)
GOAL = (1.5, 0.75, 0.425)  # 20 cm further along x
PUSH_POSITION = np.array([1.3 - 0.075, 0.75, 0.425 + 0.005])  # 7.5 cm behind the block, 5 mm above its centre
NOTHING = (0.0, 0.0, 0.0, 0.0)


def asked(gripper, block=BLOCK, goal=GOAL):
    return ReactivePush()(moment(gripper, block, goal))[0]


def test_it_rests_once_the_block_has_arrived():
    # Arrived: squared distance below 1e-3, that is nearer than 3.16 cm, in 3-D.
    for offset in [(0.031, 0.0, 0.0), (0.0, -0.031, 0.0), (0.0, 0.0, 0.031), (0.018, 0.018, 0.018)]:
        assert tuple(asked((1.2, 0.7, 0.5), np.add(GOAL, offset))) == NOTHING


def test_it_does_not_rest_while_the_block_is_further_than_that():
    for offset in [(0.032, 0.0, 0.0), (0.0, -0.032, 0.0), (0.0, 0.0, 0.032), (0.019, 0.019, 0.019)]:
        assert tuple(asked((1.2, 0.7, 0.5), np.add(GOAL, offset))) != NOTHING


def test_behind_the_block_it_pushes_towards_the_goal_with_gain_5_and_keeps_its_height():
    # Gripper 8 cm behind the block, 2 cm aside, 1.5 cm high: goal minus gripper is (0.28, -0.02), times 5.
    np.testing.assert_allclose(asked((1.22, 0.77, 0.445)), (5 * 0.28, 5 * -0.02, 0.0, 0.0), atol=1e-12)


def test_too_high_to_push_it_goes_down_first():
    # Above the push position by 3.3 cm: squared, 1.089e-3 is not below 1e-3. At 3.1 cm, 0.961e-3 is.
    high, low = PUSH_POSITION + np.array([0.0, 0.0, 0.033]), PUSH_POSITION + np.array([0.0, 0.0, 0.031])
    np.testing.assert_allclose(asked(high), (0.0, 0.0, 10 * -0.033, 0.0), atol=1e-12)
    np.testing.assert_allclose(asked(low), (5 * 0.275, 0.0, 0.0, 0.0), atol=1e-12)


def test_too_low_to_push_it_goes_up_first():
    np.testing.assert_allclose(asked(PUSH_POSITION - np.array([0.0, 0.0, 0.033])), (0.0, 0.0, 10 * 0.033, 0.0), atol=1e-12)


def test_beside_the_line_to_the_goal_it_does_not_push():
    # From 10 cm behind the goal the limit of 45 degrees is 10 cm aside. The block is 5 cm from the goal, so nearer.
    block = np.subtract(GOAL, (0.05, 0.0, 0.0))
    push_position = block + np.array([-0.075, 0.0, 0.005])

    def at(aside):
        return np.array([GOAL[0] - 0.1, GOAL[1] + aside, push_position[2]])

    np.testing.assert_allclose(asked(at(0.099), block), (5 * 0.1, 5 * -0.099, 0.0, 0.0), atol=1e-12)
    travel = push_position + np.array([0.0, 0.0, 0.1]) - at(0.101)
    np.testing.assert_allclose(asked(at(0.101), block), (*(10 * travel), 0.0), atol=1e-12)


def test_between_block_and_goal_it_does_not_push():
    gripper = np.array([1.35, 0.75, 0.43])  # 5 cm past the block on the way to the goal: the block would be left behind
    travel = PUSH_POSITION + np.array([0.0, 0.0, 0.1]) - gripper
    np.testing.assert_allclose(asked(gripper), (*(10 * travel), 0.0), atol=1e-12)


def test_angles_are_compared_around_the_circle():
    # The block lies to the right of its goal, so both directions are near 180 degrees, one above it and one below.
    block, gripper = (1.3, 0.751, 0.425), (1.38, 0.749, 0.43)
    goal = (1.1, 0.75, 0.425)
    np.testing.assert_allclose(asked(gripper, block, goal), (5 * -0.28, 5 * 0.001, 0.0, 0.0), atol=1e-12)


def test_above_the_push_position_it_descends_with_gain_10():
    gripper = PUSH_POSITION + np.array([0.01, -0.02, 0.08])
    np.testing.assert_allclose(asked(gripper), (-0.1, 0.2, -0.8, 0.0), atol=1e-12)


def test_elsewhere_it_travels_to_10_cm_above_the_push_position_with_gain_10():
    gripper = PUSH_POSITION + np.array([0.2, 0.1, 0.3])
    np.testing.assert_allclose(asked(gripper), (-2.0, -1.0, 10 * (0.1 - 0.3), 0.0), atol=1e-12)


def test_a_block_exactly_over_its_goal_is_no_division_by_zero():
    # There is no direction to push in; any finite proposal will do, and no warning.
    assert np.isfinite(asked(np.add(BLOCK, (0.0, 0.2, 0.0)), BLOCK, np.subtract(BLOCK, (0.0, 0.0, 0.1)))).all()
    assert np.isfinite(asked(BLOCK, BLOCK, np.add(BLOCK, (0.0, 0.0, 0.1)))).all()


@given(hnp.arrays(np.float64, (3, 3), elements=st.floats(-2.0, 2.0)), st.floats(-np.pi, np.pi))
def test_turning_the_whole_scene_turns_the_proposal(positions, angle):
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    controller = ReactivePush()
    here, there = controller(moment(*positions))[0], controller(moment(*(positions @ turn.T)))[0]
    # Where a comparison is a matter of rounding, the two may take different branches: those moments say nothing.
    margins = _margins(positions)
    if min(abs(margin) for margin in margins) > 1e-9:
        np.testing.assert_allclose(there[:3], turn @ here[:3], atol=1e-6)


def _margins(positions):
    """How far each of the controller's comparisons is from a tie."""
    gripper, block, goal = positions
    to_goal, block_to_goal = (goal - gripper)[:2], (goal - block)[:2]
    distance = np.linalg.norm(block_to_goal)
    push = block + np.array([0, 0, 0.005])
    push[:2] -= 0.075 * block_to_goal / max(distance, 1e-12)
    cross = to_goal[0] * block_to_goal[1] - to_goal[1] * block_to_goal[0]
    return (
        np.sum((block - goal) ** 2) - 1e-3,
        (gripper - push)[2] ** 2 - 1e-3,
        abs(np.arctan2(cross, to_goal @ block_to_goal)) - np.pi / 4,
        distance - np.linalg.norm(to_goal),
        np.sum((gripper - push)[:2] ** 2) - 1e-3,
        distance,
    )


@pytest.mark.parametrize(("name", "episodes", "low", "high"), [("push", 64, 0.97, 1.0), ("slippery-push", 256, 0.38, 0.53)])
def test_reactive_push_succeeds_as_often_as_the_paper_says(name, episodes, low, high):
    # "Near perfect" on Push, about 0.45 on SlipperyPush, where 256 episodes have a standard error of 0.031.
    task = TASKS[name]
    envs = evaluation_envs(task, episodes, num_threads=2)
    outcome = roll_out(envs, base_alone(ReactivePush(), Composition(), task.spec.action_size), list(range(episodes)))
    envs.close()
    assert low <= outcome.success_rate <= high


# --- asking ---


def test_zero_proposes_nothing(seen):
    observation = seen["push"]
    assert np.array_equal(Zero(4)(observation), np.zeros((len(observation["observation"]), 4)))


def test_a_lifted_function_of_one_observation_is_the_batched_controller(seen):
    observation, whole = seen["slippery-push"], ReactivePush()

    def one(single):
        return whole(Observation(**{key: value[None] for key, value in single.items()}))[0]

    assert np.array_equal(batched(one)(observation), whole(observation))


def test_a_lifted_function_sees_single_observations_and_may_return_a_list(seen):
    shapes = []

    def one(single):
        shapes.append({key: value.shape for key, value in single.items()})
        return [0, 1, 0, -1]

    observation = without_state(select(seen["push"], slice(0, 3)))
    assert propose(batched(one), observation, 4).tolist() == [[0.0, 1.0, 0.0, -1.0]] * 3
    assert shapes == [{"observation": (25,), "achieved_goal": (3,), "desired_goal": (3,)}] * 3


def test_a_lifted_function_keeps_its_name():
    def my_push(single):
        return np.zeros(4)

    assert name_of(batched(my_push)) == "my_push"
    assert name_of(ReactivePush()) == "ReactivePush"


def test_a_lifted_function_keeps_its_declaration_about_the_goal():
    def home(single):
        return np.zeros(4)

    home.reads_goal = False
    assert not reads_goal(batched(home))


def test_a_lifted_function_keeps_what_it_says_about_being_asked():
    def planner(single):
        return np.zeros(4)

    assert (reads_state(batched(planner)), can_be_requeried(batched(planner))) == (False, True)
    planner.can_be_requeried = False
    assert (reads_state(batched(planner)), can_be_requeried(batched(planner))) == (False, False)
    planner.can_be_requeried, planner.reads_state = True, True
    assert (reads_state(batched(planner)), can_be_requeried(batched(planner))) == (True, False)  # states are not stored


def test_the_slow_one_is_not_asked_again_and_the_others_are():
    spec = TASKS["push"].spec
    assert [n for n, entry in CONTROLLERS.items() if entry.fits(spec) and not can_be_requeried(make_controller(n, spec))] == [
        "discrete-mpc"
    ]


def test_a_planner_simulates_on_the_threads_it_is_given():
    assert make_controller("discrete-mpc", TASKS["push"].spec, 3) == DiscreteMPC(num_threads=3)


def test_whoever_does_not_say_is_taken_to_read_the_goal():
    assert reads_goal(lambda observation: observation)


def broken_gripper(answer):
    def my_controller(observation):
        if isinstance(answer, Exception):
            raise answer
        return answer

    return my_controller


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (KeyError("gripper"), r"raised KeyError: 'gripper'"),
        (None, r"returned None instead of an action"),
        ("fast", r"returned 'fast' instead of an action"),
        (np.zeros(4), r"returned shape \(4,\); one action for each observation, \(3, 4\), is needed .*residual_rl\.batched"),
        (np.zeros((3, 3)), r"returned shape \(3, 3\)"),
        (np.zeros((2, 4)), r"returned shape \(2, 4\)"),
        (np.zeros((3, 4, 2)), r"returned shape \(3, 4, 2\)"),
        ([[0, 0, 0, 0], [0, 0, np.nan, 0], [0, 0, 0, 0]], r"returned nan in entry 2 of its action"),
        ([[0, 0, 0, 0], [0, 0, 0, 0], [0, -np.inf, 0, 0]], r"returned -inf in entry 1 of its action"),
    ],
    ids=["raises", "nothing", "a word", "one action", "too narrow", "too few", "too deep", "nan", "inf"],
)
def test_an_answer_that_is_no_action_is_an_error_that_names_the_controller(seen, answer, complaint):
    observation = select(seen["push"], slice(0, 3))
    with pytest.raises(ControllerError, match=f"controller 'my_controller' ({complaint})"):
        propose(broken_gripper(answer), observation, 4)


def test_the_error_keeps_what_the_controller_raised():
    cause = ZeroDivisionError("no way")
    with pytest.raises(ControllerError) as caught:
        propose(broken_gripper(cause), Observation(observation=np.zeros((1, 25)), achieved_goal=0, desired_goal=0), 4)
    assert caught.value.__cause__ is cause


@given(hnp.arrays(st.sampled_from([np.float32, np.float64, np.int64]), (3, 4), elements=st.integers(-100, 100)))
def test_a_sound_proposal_comes_back_unclipped_as_float64(answer):
    observation = Observation(observation=np.zeros((3, 25)), achieved_goal=np.zeros((3, 3)), desired_goal=np.zeros((3, 3)))
    proposal = propose(lambda _: answer, observation, 4)
    assert proposal.dtype == np.float64
    assert np.array_equal(proposal, answer)
