"""The search against answers worked out by hand; DiscreteMPC against the world that it plans in."""

from dataclasses import replace

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from residual_rl.controllers import DiscreteMPC, ReactivePush, propose
from residual_rl.controllers.planning import MOVES, STAY, UNREACHABLE, StepCache, Tree, best_first_search
from residual_rl.errors import ControllerError
from residual_rl.tasks import TASKS
from residual_rl.tasks.block import BlockWorld
from residual_rl.tasks.variants import MPC_PUSH, PUSH, SLIPPERY_PUSH
from residual_rl.types import Observation, select, with_goal

LEFT, RIGHT = 0, 1
LINE = np.array([[-1], [1]])


def search(heights, expansions, others=None, moves=LINE, starts=(0,)):
    """From places on a line of given heights; `others` are the second numbers of the estimate. Elsewhere both are 99."""
    others = others or {}

    def estimate(places, episodes):
        return np.array([[heights.get(place, 99), others.get(place, 0)] for place in places[:, 0].tolist()])

    root = np.array(starts)[:, None]
    return best_first_search(root, moves, lambda places, chosen: places + chosen, estimate, expansions).tolist()


# --- the search ---


def test_it_moves_downhill():
    assert search({0: 5, -1: 6, 1: 4}, 1) == [RIGHT]
    assert search({0: 5, -1: 4, 1: 6}, 1) == [LEFT]


def test_at_the_lowest_place_it_stays():
    assert search({0: 3, -1: 4, 1: 4}, 10) == [STAY]


def test_behind_a_hill_it_finds_the_valley_once_it_has_expanded_enough():
    # In the order of expansion: 0, which shows -1 (7) and 1 (6); 1, which shows 2 (8) and 0 again (5, by way of 1); that 0,
    # whose neighbours were both tried; -1, which shows -2 (9); 2, which shows 3, the valley. So the fifth finds it.
    heights = {-2: 9, -1: 7, 0: 5, 1: 6, 2: 8, 3: 0}
    assert [search(heights, expansions) for expansions in (4, 5, 10)] == [[STAY], [RIGHT], [RIGHT]]


def test_the_second_number_counts_only_where_the_first_is_equal():
    assert search({0: 5, -1: 4, 1: 4}, 1, {0: 0, -1: 9, 1: 2}) == [RIGHT]
    assert search({0: 5, -1: 3, 1: 4}, 1, {0: 0, -1: 9, 1: 2}) == [LEFT]


def test_a_longer_path_must_gain_as_much_as_it_is_longer():
    # Staying costs (5, 3); one move further to the right costs one more each, but gains what the table says.
    assert search({0: 5, 1: 5}, 3, {0: 3, 1: 3}) == [STAY]
    assert search({0: 5, 1: 5}, 3, {0: 3, 1: 1}) == [RIGHT]
    # Two to the left are as good as one to the right, plus the move more; three to the left are one better.
    assert search({place: 5 for place in range(-3, 2)}, 6, {0: 9, 1: 4, -1: 8, -2: 4, -3: 3}) == [RIGHT]
    assert search({place: 5 for place in range(-3, 2)}, 6, {0: 9, 1: 4, -1: 8, -2: 4, -3: 1}) == [LEFT]


def test_of_equally_good_ends_the_youngest_wins_and_so_does_any_over_staying():
    assert search({0: 5, -1: 4, 1: 4}, 1) == [RIGHT]  # tried after LEFT
    assert search({0: 5, 1: 5}, 1, {0: 1, 1: 0}) == [RIGHT]  # a move more, and one nearer: as good as staying


def test_of_equally_promising_nodes_the_older_is_expanded_first():
    # Both neighbours promise the same. The valley beyond the left one is found in the second expansion, the right one later.
    assert search({0: 3, -1: 4, 1: 4, -2: 0}, 2) == [LEFT]
    assert search({0: 3, -1: 4, 1: 4, 2: 0}, 2) == [STAY]


def test_the_same_moves_in_another_order_are_not_simulated_again():
    plane = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
    reached = []

    def step(places, moves):
        reached.extend(map(tuple, (places + moves).tolist()))
        return places + moves

    def estimate(places, episodes):
        return np.stack([np.abs(places).sum(axis=1), np.zeros(len(places), int)], axis=1)

    best_first_search(np.zeros((1, 2), int), plane, step, estimate, 12)
    assert len(reached) == len(set(reached))
    assert (0, 0) in reached  # the root's own displacement is tried once, as in the original
    assert len(reached) > 12


def test_each_episode_is_searched_as_if_it_were_alone():
    rng = np.random.default_rng(0)
    tables = rng.integers(0, 6, (40, 15, 15, 2))
    plane = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
    calls = []

    def step(places, moves):
        calls.append(len(places))
        return (places + moves).clip(0, 14)

    def answers(numbers):
        def estimate(places, episodes):
            return tables[numbers[episodes], places[:, 0], places[:, 1]]

        return best_first_search(np.full((len(numbers), 2), 7), plane, step, estimate, 6)

    together = answers(np.arange(40))
    assert len(calls) == 6  # one for each round, whatever the number of episodes
    assert together.tolist() == [answers(np.array([number]))[0] for number in range(40)]
    assert len(set(together.tolist())) > 2


def test_ending_as_soon_as_the_answer_is_certain_changes_no_answer(monkeypatch):
    rng = np.random.default_rng(1)
    tables = np.cumsum(rng.integers(-2, 3, (300, 15, 15, 2)), axis=1)  # slopes, as in a world
    plane = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
    simulated = [0]

    def step(places, moves):
        simulated[-1] += len(places)
        return (places + moves).clip(0, 14)

    def answers(expansions):
        def estimate(places, episodes):
            return tables[episodes, places[:, 0], places[:, 1]]

        return best_first_search(np.full((300, 2), 7), plane, step, estimate, expansions).tolist()

    early = [answers(expansions) for expansions in (1, 2, 5, 10)]
    simulated.append(0)
    monkeypatch.setattr(Tree, "is_decided", lambda tree, expansions: False)
    assert [answers(expansions) for expansions in (1, 2, 5, 10)] == early
    assert simulated[0] < 0.9 * simulated[1]


def test_a_search_with_nothing_left_to_try_ends():
    nowhere, steps = np.zeros((1, 1), int), []

    def step(places, moves):
        steps.append(len(places))
        return places + moves

    answer = best_first_search(
        np.zeros((2, 1), int), nowhere, step, lambda places, episodes: np.zeros((len(places), 2), int), 5
    )
    assert answer.tolist() == [STAY, STAY]
    assert steps == [2]


# --- DiscreteMPC ---


@pytest.fixture(scope="module")
def mpc():
    controller = DiscreteMPC(num_threads=2)
    yield controller
    controller.close()


@pytest.fixture(scope="module")
def seen():
    """Moments of MPCPush, some of them with the hand at the block: `[B]`."""
    envs = TASKS["mpc-push"].make_envs(6, num_threads=2, autoreset_mode=AutoresetMode.DISABLED, with_state=True)
    observation, _ = envs.reset(seed=0)
    for _ in range(12):
        observation, *_ = envs.step(0.1 * ReactivePush()(observation).clip(-1.0, 1.0))
    envs.close()
    return observation


def moment(mpc, block, goal, gripper_to_block=None):
    """An observation of the start with the block moved, or else with the block placed relative to the gripper."""
    state, _ = mpc.world.reset([np.random.default_rng(0)])
    gripper = mpc.world.observe(state, np.zeros((1, 3)))["observation"][0, :3]
    place = gripper[:2] + gripper_to_block if gripper_to_block is not None else block
    physics = state.physics.copy()
    physics[0, mpc.world._block.start : mpc.world._block.start + 2] = place
    shown = mpc.world.observe(mpc.world.arm.at(physics), np.array([[*np.add(place, goal), 0.425]]))
    return Observation(**{**shown, "state": physics})


def test_it_proposes_a_whole_move_on_one_axis_or_none(mpc, seen):
    proposal = mpc(seen)
    assert proposal.shape == (6, 4)
    assert set(np.unique(proposal)) <= {-1.0, 0.0, 1.0}
    assert np.all(np.abs(proposal).sum(axis=1) <= 1.0)
    assert np.all(proposal[:, 3] == 0.0)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("sign", [-1, 1])
def test_behind_the_block_it_pushes_towards_the_goal(mpc, axis, sign):
    way = sign * np.eye(2)[axis]
    expected = np.zeros(4)
    expected[axis] = sign
    assert np.array_equal(mpc(moment(mpc, None, 0.12 * way, 0.05 * way))[0], expected)


def test_before_the_block_it_does_not_push_it_away(mpc):
    way = np.array([1.0, 0.0])
    assert mpc(moment(mpc, None, -0.12 * way, 0.05 * way))[0, 0] != 1.0


def test_the_estimate_by_hand(mpc):
    # Block 12 cm along x from the gripper, goal 10 cm further along y: 1000 multiples of 0.1 mm. The push position is 5 cm
    # short of the block in y and 5 mm above its centre; the tips rest on the table, about 1 cm below that centre.
    seen = moment(mpc, None, (0.0, 0.1), (0.12, 0.0))
    gripper, block = seen["observation"][0, :3], seen["observation"][0, 3:6]
    packed = np.concatenate(mpc.world.arm.at(seen["state"]), axis=1)
    first, second = mpc.estimate(packed, seen["desired_goal"])[0]
    assert first in (999, 1000)
    np.testing.assert_allclose(block - gripper, (0.12, 0.0, 0.010), atol=2e-3)
    assert second == np.floor(1e4 * np.linalg.norm((0.12, -0.05, block[2] + 0.005 - gripper[2])))


def test_a_state_that_could_not_be_computed_is_the_last_to_be_chosen(mpc, seen):
    size = mpc.world.arm.physics.state_size + mpc.world.arm.physics.model.nsensordata
    assert np.all(mpc.estimate(np.full((1, size), np.nan), np.zeros((1, 3))) == UNREACHABLE)


@pytest.mark.parametrize("task", ["push", "mpc-push"])
def test_what_it_foresees_is_what_then_happens_bit_for_bit(mpc, task):
    envs = TASKS[task].make_envs(5, num_threads=2, autoreset_mode=AutoresetMode.DISABLED, with_state=True)
    observation, _ = envs.reset(seed=20)
    for _ in range(8):
        proposal = mpc(observation)
        state = mpc.world.arm.at(observation["state"])
        assert np.array_equal(state.sensors, envs.state.sensors)
        foreseen = mpc.world.step(state, proposal)
        observation, *_ = envs.step(proposal)
        assert np.array_equal(observation["state"], foreseen.physics)
        assert np.array_equal(envs.state.sensors, foreseen.sensors)
    envs.close()


def test_a_whole_move_is_the_same_on_push_and_on_mpc_push(mpc):
    def play(task):
        envs = TASKS[task].make_envs(3, num_threads=2, autoreset_mode=AutoresetMode.DISABLED, with_state=True)
        states = [envs.reset(seed=40)[0]]
        for _ in range(8):
            states.append(envs.step(mpc(states[-1]))[0])
        envs.close()
        return np.stack([observation["state"] for observation in states])

    assert np.array_equal(play("push"), play("mpc-push"))


def test_planning_does_not_disturb_the_world(mpc):
    def play(watch):
        envs = TASKS["push"].make_envs(3, num_threads=2, autoreset_mode=AutoresetMode.DISABLED, with_state=True)
        observation, _ = envs.reset(seed=0)
        states = []
        for _ in range(6):
            watch(observation)
            observation, *_ = envs.step(ReactivePush()(observation))
            states.append(observation["state"])
        envs.close()
        return states

    assert np.array_equal(play(mpc), play(lambda observation: None))


def test_one_episode_alone_or_in_company_one_thread_or_three(mpc, seen):
    together = mpc(seen)
    alone = DiscreteMPC(num_threads=1)
    assert np.array_equal(together, np.concatenate([alone(select(seen, slice(row, row + 1))) for row in range(6)]))
    alone.close()
    three = DiscreteMPC(num_threads=3)
    assert np.array_equal(together, three(seen))
    three.close()


def test_cached_steps_change_no_proposal():
    """Followed, disturbed and led elsewhere, a stateful planner proposes what a new one does."""
    envs = TASKS["mpc-push"].make_envs(4, num_threads=2, autoreset_mode=AutoresetMode.DISABLED, with_state=True)
    observation, _ = envs.reset(seed=7)
    rng = np.random.default_rng(0)
    old = DiscreteMPC(num_threads=2)
    for step in range(9):
        new = DiscreteMPC(num_threads=2)
        proposal = old(observation)
        assert np.array_equal(proposal, new(observation))
        new.close()
        observation, *_ = envs.step(proposal if step % 3 else (proposal + rng.normal(0, 0.3, (4, 4))).clip(-1.0, 1.0))
    envs.close()
    old.close()


def test_what_was_simulated_for_this_search_or_the_last_is_not_simulated_again():
    asked = []

    def step(places, moves):
        asked.extend(places[:, 0].tolist())
        return places + moves

    remembered = StepCache(step)

    def ask(*places):
        asked.clear()
        answer = remembered(np.array(places)[:, None], np.ones((len(places), 1), int))
        assert answer[:, 0].tolist() == [place + 1 for place in places]
        return sorted(asked)

    assert ask(1, 2, 1) == [1, 2]
    assert ask(2, 3) == [3]
    remembered.forget()
    assert ask(3, 4) == [4]
    remembered.forget()
    assert ask(3, 4) == []
    assert ask(1, 2) == [1, 2]
    assert remembered(np.array([[1]]), np.array([[-1]]))[0, 0] == 0  # another move from the same place


def test_another_goal_is_another_plan(mpc, seen):
    elsewhere = with_goal(seen, seen["desired_goal"] + np.array([0.1, -0.2, 0.0]))
    assert not np.array_equal(mpc(seen), mpc(elsewhere))


def test_more_expansions_find_better_states(mpc, seen):
    """Followed for its own six moves, the deeper plan brings the block no further from the goal, over all."""
    packed = np.concatenate(mpc.world.arm.at(seen["state"]), axis=1)
    best = []
    for expansions in (0, 1, 10):
        found = mpc.estimate(packed, seen["desired_goal"])[:, 0].tolist()

        def estimate(states, episodes, found=found):
            costs = mpc.estimate(states, seen["desired_goal"][episodes])
            for episode, cost in zip(episodes.tolist(), costs[:, 0].tolist(), strict=True):
                found[episode] = min(found[episode], cost)
            return costs

        first = best_first_search(packed, MOVES, mpc.step, estimate, expansions)
        assert expansions or set(first) == {STAY}
        best.append(found)
    assert np.all(np.diff(best, axis=0) <= 0)
    assert np.sum(best[2]) < np.sum(best[1])


def test_without_a_state_it_says_what_to_do(mpc, seen):
    blind = Observation(**{key: seen[key] for key in ("observation", "achieved_goal", "desired_goal")})
    with pytest.raises(ControllerError, match=r"'DiscreteMPC' raised ValueError: it plans .* with_state=True"):
        propose(mpc, blind, 4)


def test_a_state_of_another_model_is_refused(mpc, seen):
    other = Observation(**{**seen, "state": seen["state"][:, :-2]})
    with pytest.raises(ControllerError, match=r"its model has a state of \d+ numbers; the one it was shown has \d+"):
        propose(mpc, other, 4)


def test_it_plans_in_the_scene_that_it_is_told(mpc, seen):
    slippery = DiscreteMPC(scene=SLIPPERY_PUSH, num_threads=2)
    world = BlockWorld(SLIPPERY_PUSH, 2)
    state, push = world.arm.at(seen["state"]), np.tile([1.0, 0.0, 0.0, 0.0], (6, 1))
    assert np.array_equal(slippery.world.step(state, push).physics, world.step(state, push).physics)
    assert not np.array_equal(slippery.world.step(state, push).physics, mpc.world.step(state, push).physics)
    assert mpc.scene == PUSH
    world.close()
    slippery.close()


def test_closed_it_can_be_asked_again(seen):
    controller = DiscreteMPC(expansions=1, num_threads=2)
    controller.close()
    first = controller(seen)
    controller.close()
    assert np.array_equal(controller(seen), first)
    controller.close()


def test_mpc_push_is_push_at_ten_times_the_gain():
    assert replace(MPC_PUSH, action_gain=1.0) == PUSH
    assert MPC_PUSH.action_gain == 10.0
