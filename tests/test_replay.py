"""The ring of transitions. Every value that is stored is the number of its row, so that whatever comes out says where from."""

import itertools
import re

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from residual_rl.errors import RunError
from residual_rl.learning.replay import Replay, example_transition
from residual_rl.types import Observation, Spec, Transition, row_of

SPEC = Spec(observation_size=2, goal_size=1, action_size=3, horizon=10)
EXAMPLE = example_transition(SPEC)


def rows_of(numbers, spec=SPEC):
    """The transitions with these row numbers: each array holds the number, plus a mark of its own."""
    numbers = np.asarray(numbers)

    def filled(width, mark):
        return np.repeat(numbers[:, None] + mark, width, axis=1).astype(np.float32)

    def observation(mark):
        return Observation(
            observation=filled(spec.observation_size, mark),
            achieved_goal=filled(spec.goal_size, mark + 0.25),
            desired_goal=filled(spec.goal_size, mark + 0.5),
        )

    return Transition(
        observation=observation(0),
        base_action=filled(spec.action_size, 0.125),
        residual=filled(spec.action_size, 0.25),
        action=filled(spec.action_size, 0.375),
        reward=-numbers.astype(np.float32),
        terminated=numbers % 3 == 0,
        truncated=numbers % 3 == 1,
        discount=numbers.astype(np.float32) + 0.75,
        next_observation=observation(1000),
        next_base_action=filled(spec.action_size, 0.625),
    )


def number_achieved(goal):
    """Which row's step ended where this goal was achieved."""
    return (goal[:, 0] - 1000.25).astype(int)


def filled_replay(capacity, lengths):
    """A replay, and the last row number of each row's episode."""
    replay, ends, total = Replay(EXAMPLE, capacity), [], 0
    for length in lengths:
        replay.add_episode(rows_of(np.arange(total, total + length)))
        total += length
        ends += [total - 1] * length
    return replay, np.array(ends)


def leaves(transition):
    for field in transition:
        yield from field.values() if isinstance(field, dict) else [field]


def assert_same(one, other):
    for first, second in zip(leaves(one), leaves(other), strict=True):
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)


def check_all(replay, ends, capacity):
    total = len(ends)
    assert replay.total == total
    assert len(replay) == min(total, capacity)
    held = np.arange(total - len(replay), total)
    assert_same(replay.rows(held), rows_of(held))

    rng = np.random.default_rng(0)
    numbers = np.repeat(held, 20)
    later = number_achieved(replay.later_achieved_goal(rng, numbers))
    assert (later >= numbers).all()
    assert (later <= ends[numbers]).all()
    # The last step of an episode has no later one than itself.
    at_end = ends[numbers] == numbers
    np.testing.assert_array_equal(later[at_end], numbers[at_end])


GRID = list(itertools.product([6, 7, 64], [[1], [6], [5, 5, 5], [1, 2, 3, 4, 5, 6], [6] * 20, [1] * 50]))


@pytest.mark.parametrize(("capacity", "lengths"), GRID)
def test_held_are_the_last_rows_and_goals_never_leave_the_episode(capacity, lengths):
    replay, ends = filled_replay(capacity, lengths)
    check_all(replay, ends, capacity)


@given(st.integers(1, 30).flatmap(lambda size: st.tuples(st.just(size), st.lists(st.integers(1, size), min_size=1))))
def test_held_are_the_last_rows_whatever_the_episodes_lengths(case):
    capacity, lengths = case
    replay, ends = filled_replay(capacity, lengths)
    check_all(replay, ends, capacity)


def test_every_later_step_of_the_episode_is_as_likely():
    replay, _ = filled_replay(30, [10, 10, 10, 10])  # wrapped: rows 10 to 39 are held
    draws = 10_000
    later = number_achieved(replay.later_achieved_goal(np.random.default_rng(0), np.full(draws, 26)))
    counts = np.bincount(later - 26, minlength=4)
    assert len(counts) == 4  # steps 26, 27, 28, 29
    assert (np.abs(counts - draws / 4) < 5 * np.sqrt(draws * 0.25 * 0.75)).all()


@pytest.mark.parametrize(("latest", "expected"), [(None, range(5, 25)), (7, range(18, 25)), (500, range(5, 25))])
def test_draw_covers_what_is_held_or_the_latest_uniformly(latest, expected):
    replay, _ = filled_replay(20, [5, 5, 5, 5, 5])
    draws = 40_000
    numbers = replay.draw(np.random.default_rng(0), draws, latest)
    assert sorted(set(numbers)) == list(expected)
    share = 1 / len(expected)
    counts = np.unique(numbers, return_counts=True)[1]
    assert (np.abs(counts - draws * share) < 5 * np.sqrt(draws * share * (1 - share))).all()


def test_the_same_generator_draws_the_same():
    replay, _ = filled_replay(20, [5, 5, 5])
    one, other = (replay.draw(np.random.default_rng(4), 50) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_an_empty_replay_says_so():
    with pytest.raises(ValueError, match="empty"):
        Replay(EXAMPLE, 10).draw(np.random.default_rng(0), 1)


def test_an_episode_that_does_not_fit_is_refused_and_nothing_lost():
    replay, ends = filled_replay(8, [5])
    with pytest.raises(ValueError, match="9 steps does not fit into a replay of 8"):
        replay.add_episode(rows_of(np.arange(5, 14)))
    check_all(replay, ends, 8)


def test_sampled_rows_are_copies():
    replay, _ = filled_replay(8, [5, 5])
    numbers = np.arange(2, 10)
    for leaf in leaves(replay.rows(numbers)):
        leaf[:] = 0
    assert_same(replay.rows(numbers), rows_of(numbers))


def test_added_episodes_are_copied():
    replay = Replay(EXAMPLE, 8)
    episode = rows_of(np.arange(5))
    replay.add_episode(episode)
    for leaf in leaves(episode):
        leaf[:] = 0
    assert_same(replay.rows(np.arange(5)), rows_of(np.arange(5)))


@pytest.mark.parametrize("lengths", [[3], [4, 4], [5, 5, 3]], ids=["part full", "full", "wrapped"])
def test_a_restored_replay_goes_on_as_the_original(lengths):
    original, ends = filled_replay(8, lengths)
    stored = {name: array.copy() for name, array in original.arrays().items()}
    restored = Replay(EXAMPLE, 8)
    restored.restore(stored)
    check_all(restored, ends, 8)
    more = rows_of(np.arange(len(ends), len(ends) + 6))
    for replay in (original, restored):
        replay.add_episode(more)
    check_all(restored, np.append(ends, [len(ends) + 5] * 6), 8)
    for name, array in original.arrays().items():
        np.testing.assert_array_equal(restored.arrays()[name], array)
    one, other = (replay.draw(np.random.default_rng(0), 100) for replay in (original, restored))
    np.testing.assert_array_equal(one, other)


def test_only_what_is_held_is_stored():
    replay, _ = filled_replay(1000, [3, 3])
    assert {len(array) for array in replay.arrays().values() if array.ndim} == {6}


def test_a_world_without_goals_is_held_too():
    replay = Replay(example_transition(SPEC._replace(goal_size=0)), 8)
    replay.add_episode(rows_of(np.arange(5), SPEC._replace(goal_size=0)))
    assert replay.rows(np.arange(5)).observation["desired_goal"].shape == (5, 0)
    assert replay.later_achieved_goal(np.random.default_rng(0), np.arange(5)).shape == (5, 0)


def test_what_fails_while_episodes_are_being_added_leaves_the_replay_as_it_was():
    for capacity in (7, 100):
        replay = Replay(EXAMPLE, capacity)
        for first in (0, 3, 6):
            replay.add_episode(rows_of(range(first, first + 3)))
        before = {name: array.copy() for name, array in replay.arrays().items()}
        with pytest.raises(RuntimeError), replay.adding([rows_of(range(50, 52)), rows_of(range(60, 64))]):
            raise RuntimeError
        after = replay.arrays()
        assert all(np.array_equal(before[name], after[name]) for name in before)


# ---- any keys, shapes and dtypes ----


def shown(numbers):
    """Images, and numbers beside them, of rows with these numbers."""
    numbers = np.asarray(numbers)
    image = np.broadcast_to(numbers[:, None, None, None] % 256, (len(numbers), 4, 4, 3)).astype(np.uint8)
    return {"image": image, "desired_goal": numbers[:, None].astype(np.float32), "a/b": numbers.astype(np.int32)}


def pictured(numbers):
    numbers = np.asarray(numbers)
    extras = {"log_probability": -numbers.astype(np.float16)}
    following = {key: (value + 1).astype(value.dtype) for key, value in shown(numbers).items()}
    return rows_of(numbers)._replace(observation=shown(numbers), next_observation=following, extras=extras)


def replay_of_pictures(capacity, lengths):
    replay, total = Replay(example_of(pictured([0])), capacity), 0
    for length in lengths:
        replay.add_episode(pictured(np.arange(total, total + length)))
        total += length
    return replay


def example_of(transition):
    """A transition without its leading axis."""
    return Transition(*(row_of(field, 0) for field in transition))


def test_keys_and_dtypes_are_those_of_the_example():
    replay = replay_of_pictures(8, [5, 5])
    rows = replay.rows(np.arange(2, 10))
    assert list(rows.observation) == ["image", "desired_goal", "a/b"]
    assert rows.observation["image"].dtype == np.uint8
    assert rows.extras["log_probability"].dtype == np.float16
    assert_same(rows, pictured(np.arange(2, 10)))
    assert replay.row_bytes == sum(leaf.nbytes for leaf in jax.tree.leaves(pictured([0])))


def test_stored_arrays_are_named_by_their_paths_and_found_whatever_their_order():
    replay = replay_of_pictures(8, [5, 5])
    arrays = {name: array.copy() for name, array in reversed(replay.arrays().items())}
    assert {".observation['image']", ".next_observation['a/b']", ".extras['log_probability']", ".reward"} < arrays.keys()
    restored = Replay(example_of(pictured([0])), 8)
    restored.restore(arrays)
    assert_same(restored.rows(np.arange(2, 10)), pictured(np.arange(2, 10)))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (".observation['image']", lambda array: array[..., :2]),
        (".extras['log_probability']", lambda array: array.astype(np.float32)),
        ("episode_start", lambda array: array[:3]),
        (".reward", None),
    ],
)
def test_a_stored_array_that_does_not_belong_there_is_named(name, change):
    replay = replay_of_pictures(8, [5])
    arrays = dict(replay.arrays())
    array = arrays.pop(name)
    if change:
        arrays[name] = change(array)
    with pytest.raises(RunError, match=re.escape(repr(name))):
        replay.restore(arrays, "some/file")


def test_an_episode_of_another_form_is_refused():
    with pytest.raises(ValueError, match="log_probability"):
        replay_of_pictures(8, [5]).add_episode(pictured([0])._replace(extras={}))


# ---- draws over several rows ----


def firsts_and_ends(lengths):
    ends = np.cumsum(lengths)
    return np.repeat(ends - lengths, lengths), np.repeat(ends - 1, lengths)


LENGTHS = [3, 1, 6, 2, 5]


@pytest.mark.parametrize("capacity", [9, 100])
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_a_window_ends_with_its_episode(capacity, steps):
    replay = replay_of_pictures(capacity, LENGTHS)
    _, ends = firsts_and_ends(LENGTHS)
    numbers = np.arange(17 - len(replay), 17)
    windows = replay.windows(numbers, steps)
    for number, rows, inside in zip(numbers, windows.numbers, windows.inside, strict=True):
        expected = [row for row in range(number, number + steps) if row <= ends[number]]
        assert rows[inside].tolist() == expected
        assert rows[-1] == expected[-1]
    np.testing.assert_array_equal(windows.last, windows.numbers[:, -1])


@pytest.mark.parametrize("capacity", [9, 100])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_frames_reach_back_to_the_start_of_their_episode_and_to_what_is_held(capacity, count):
    replay = replay_of_pictures(capacity, LENGTHS)
    firsts, _ = firsts_and_ends(LENGTHS)
    numbers = np.arange(17 - len(replay), 17)
    frames, following = replay.frames(numbers, "image", count)
    assert frames.dtype == following.dtype == np.uint8
    for number, now, then in zip(numbers, frames[:, :, 0, 0, 0], following[:, :, 0, 0, 0], strict=True):
        first = max(firsts[number], numbers[0])
        expected = [max(row, first) for row in range(number - count + 1, number + 1)]
        assert now.tolist() == expected
        assert then.tolist() == [*expected[1:], number + 1]
