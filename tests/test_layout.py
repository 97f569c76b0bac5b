"""Observations and actions of any environment, and the arrays that the library makes of them."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from residual_rl.errors import ResidualRLError
from residual_rl.spaces import Layout, layout_of

ACTION = spaces.Box(-1.0, 1.0, (2,), np.float32)
BOX = spaces.Box(-np.inf, np.inf, (3,), np.float32)
shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)


@st.composite
def boxes(draw: st.DrawFn) -> spaces.Box:
    kind = draw(st.sampled_from(["float32", "float64", "int32", "uint8"]))
    low, high = (0, 255) if kind == "uint8" else (-1000, 1000)
    return spaces.Box(low, high, draw(shapes), np.dtype(kind).type)


observations = st.recursive(
    boxes(),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3).map(spaces.Dict),
    max_leaves=5,
)
bounds = st.tuples(st.floats(-1e3, 1e3), st.floats(0.01, 1e3)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@st.composite
def action_spaces(draw: st.DrawFn) -> spaces.Box:
    shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple))
    pairs = np.array([draw(bounds) for _ in range(int(np.prod(shape)))])
    kind = draw(st.sampled_from([np.float32, np.float64]))
    return spaces.Box(*(pairs[:, side].reshape(shape).astype(kind) for side in (0, 1)), dtype=kind)


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    return first.dtype == second.dtype and np.array_equal(first, second)


@given(observations, st.integers(1, 4), st.integers(0, 1000))
def test_what_is_flattened_comes_back_as_it_was(space: spaces.Space[Any], size: int, seed: int) -> None:
    layout, batched = layout_of(space, ACTION), batch_space(space, size)
    batched.seed(seed)
    shown = batched.sample()
    flat = layout.flatten(shown, (size,))
    assert flat["observation"].shape == (size, layout.observation_size)
    assert same(layout.unflatten(flat), dict(shown) if isinstance(shown, dict) else shown)
    assert not layout.is_single(shown)
    space.seed(seed)
    assert layout.is_single(space.sample())


@given(observations, st.integers(0, 1000))
def test_one_observation_is_a_row_of_a_batch(space: spaces.Space[Any], seed: int) -> None:
    layout = layout_of(space, ACTION)
    batched = batch_space(space, 2)
    batched.seed(seed)
    shown = batched.sample()

    def row(values: Any) -> Any:
        return {key: row(value) for key, value in values.items()} if isinstance(values, dict) else values[1]

    assert np.array_equal(layout.flatten(row(shown))["observation"], layout.flatten(shown, (2,))["observation"][1])


@given(observations)
def test_the_order_of_entries_is_kept_in_json(space: spaces.Space[Any]) -> None:
    layout = layout_of(space, ACTION)
    adapter = TypeAdapter(Layout)
    assert adapter.validate_json(adapter.dump_json(layout)) == layout
    assert layout_of(space, ACTION) == layout


@given(action_spaces(), st.integers(0, 1000))
def test_actions_in_own_units_lie_within_their_bounds_and_come_back(space: spaces.Box, seed: int) -> None:
    layout = layout_of(BOX, space)
    unit = np.random.default_rng(seed).uniform(-1.0, 1.0, (5, layout.action_size))
    own = layout.to_world(unit)
    assert own.shape == (5, *space.shape)
    assert all(space.contains(one) for one in own)
    back = layout.to_unit(own.reshape(5, -1).astype(float))
    low, high = np.array(layout.low), np.array(layout.high)
    rounding = np.finfo(space.dtype).eps * np.maximum(np.abs(low), np.abs(high)) / (high - low)  # type: ignore[arg-type]
    assert (np.abs(back - unit) <= 4 * rounding + 1e-12).all()


@given(action_spaces())
def test_the_bounds_are_minus_one_and_one(space: spaces.Box) -> None:
    layout = layout_of(BOX, space)
    ends = np.stack([np.array(layout.low), np.array(layout.high)])
    np.testing.assert_allclose(layout.to_unit(ends), [[-1.0] * layout.action_size, [1.0] * layout.action_size], atol=1e-6)


def test_actions_in_minus_one_to_one_are_untouched() -> None:
    unit = np.random.default_rng(0).uniform(-1.0, 1.0, (50, 2))
    assert np.array_equal(layout_of(BOX, ACTION).from_unit(unit), unit)
    assert np.array_equal(layout_of(BOX, ACTION).to_unit(unit), unit)


def goal_space(achieved: spaces.Space[Any], desired: spaces.Space[Any]) -> spaces.Dict:
    return spaces.Dict({"observation": BOX, "achieved_goal": achieved, "desired_goal": desired})


@pytest.mark.parametrize(
    ("observation", "action", "complaint"),
    [
        (BOX, spaces.Discrete(4), "action space is Discrete"),
        (BOX, spaces.MultiDiscrete([2, 2]), "action space is MultiDiscrete"),
        (BOX, spaces.Dict({"arm": ACTION}), "action space is Dict"),
        (BOX, spaces.Box(-np.inf, np.inf, (2,)), r"entry 0 of the action space lies in \[-inf, inf\]"),
        (BOX, spaces.Box(np.array([-1.0, 0.0]), np.array([1.0, np.inf]), dtype=np.float64), "entry 1 of the action space"),
        (BOX, spaces.Box(np.array([-1.0, 2.0]), np.array([1.0, 2.0]), dtype=np.float64), "leaves no choice"),
        (BOX, spaces.Box(0, 3, (2,), np.int64), "Box of int64"),
        (BOX, spaces.Box(-1.0, 1.0, (0,)), "action space is empty"),
        (spaces.Discrete(4), ACTION, "observation space is Discrete"),
        (spaces.Text(5), ACTION, "observation space is Text"),
        (spaces.Tuple((BOX, BOX)), ACTION, "observation space is Tuple"),
        (spaces.Dict({"arm": spaces.Dict({"mode": spaces.Discrete(2)})}), ACTION, "entry 'arm/mode' of the observation space"),
        (spaces.Box(-1.0, 1.0, (0,)), ACTION, "observation space is empty"),
        (spaces.Dict({}), ACTION, "observation space is empty"),
        (goal_space(BOX, spaces.Box(-1.0, 1.0, (2,))), ACTION, "differ in their shape"),
    ],
)
def test_spaces_that_cannot_work_are_refused_with_the_reason(
    observation: spaces.Space[Any], action: spaces.Space[Any], complaint: str
) -> None:
    with pytest.raises(ResidualRLError, match=complaint):
        layout_of(observation, action)


def test_an_observation_that_its_space_does_not_describe_is_named() -> None:
    with pytest.raises(ValueError, match=r"'observation' has shape \(2,\), its space says \(3,\)"):
        layout_of(BOX, ACTION).flatten(np.zeros(2))


def test_pendulum_and_fetch_have_the_layout_that_one_expects() -> None:
    env = gymnasium.make("Pendulum-v1")
    layout = layout_of(env.observation_space, env.action_space)
    assert (layout.observation_size, layout.goal_size, layout.low, layout.high) == (3, 0, (-2.0,), (2.0,))
    env.close()


@pytest.mark.parametrize(
    "change",
    [
        {"observation": []},
        {"observation": [{"path": [], "shape": [10**30], "dtype": "float32"}]},
        {"observation": [{"path": [], "shape": [-2, -1], "dtype": "float32"}]},
        {"observation": [{"path": [], "shape": [2], "dtype": "float99"}]},
        {"low": [float("nan")]},
        {"high": [-9.0]},
        {"low": [-1.0, -1.0]},
        {"action_shape": [7]},
        {"action_dtype": "object"},
        {"extra": 1},
    ],
)
def test_a_layout_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    adapter = TypeAdapter(Layout)
    values = adapter.dump_python(layout_of(spaces.Box(-1, 1, (2,)), spaces.Box(-2, 2, (1,))), mode="json")
    assert adapter.validate_python(values)
    with pytest.raises(ValidationError):
        adapter.validate_python(values | change)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_actions_come_back_from_unit_bounds_as_they_were(dtype):
    """What float32 can hold, exactly; all else but for the last digit."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        middle, half = rng.uniform(-3.0, 3.0), 10.0 ** rng.uniform(-5.0, 3.0)
        layout = layout_of(spaces.Box(-1.0, 1.0, (2,)), spaces.Box(middle - half, middle + half, (3,), dtype))
        low, high = np.array(layout.low), np.array(layout.high)
        own = rng.uniform(low, high, (100, 3)).astype(np.float32).astype(np.float64).clip(low, high)
        own[:3] = np.clip(0.0, low, high), low, high
        back = layout.to_world(layout.to_unit(own))
        short = own == own.astype(np.float32)
        assert short.mean() > 0.9
        np.testing.assert_array_equal(back[short], own[short].astype(dtype))
        other = rng.uniform(low, high, (100, 3))
        np.testing.assert_allclose(layout.to_world(layout.to_unit(other)), other.astype(dtype), rtol=0, atol=1e-7 * half + 1e-6)
