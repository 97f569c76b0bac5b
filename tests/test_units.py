"""Affine changes of observations, goals and rewards leave what is learned as it was."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from bundles import ALGORITHMS, made_config, made_residual, made_verdict, rewrite
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from test_damage import reweigh
from worlds import BUDGET, Aim, Reach, straight

import residual_rl
from residual_rl.bundles import bundle, runtime
from residual_rl.bundles.bundle import differences, write_bundle
from residual_rl.controllers import TableController
from residual_rl.controllers.resolve import resolve
from residual_rl.custom.inspection import look
from residual_rl.custom.opened import Opened
from residual_rl.residual import Composition
from residual_rl.rollout import collect
from residual_rl.spaces import layout_of
from residual_rl.types import Spec, map_observation, without_state
from residual_rl.units import Units, units_of

FINE = np.finfo(np.float64).eps


class Measured(gymnasium.Wrapper):
    """`Aim` in other units: `offset + scale x` for the observation, for the reward."""

    def __init__(self, shown: tuple[float, float] = (0.0, 1.0), paid: tuple[float, float] = (0.0, 1.0)) -> None:
        super().__init__(Aim())
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.shown, self.paid = shown, paid

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        shown, info = self.env.reset(**arguments)
        return self._own(shown), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        shown, reward, terminated, truncated, info = self.env.step(action)
        offset, scale = self.paid
        return self._own(shown), offset + scale * float(reward), False, terminated or truncated, info

    def _own(self, shown: np.ndarray) -> np.ndarray:
        offset, scale = self.shown
        return offset + scale * shown.astype(np.float64)

    def base(self, shown: np.ndarray) -> np.ndarray:
        """What is off by 1 in the units of `Aim`."""
        offset, scale = self.shown
        return 2.0 + 2.0 * (shown - offset) / scale


def lessons(env: Measured) -> tuple[np.ndarray, np.ndarray]:
    """What the learner sees of a few episodes: observations in units of their spread, and rewards."""
    opened = Opened(lambda: Measured(env.shown, env.paid), horizon=20)
    about = look(opened, env.base, lambda line: None, composition=Composition())
    task = opened.task(about, 8)
    base = resolve(env.base, opened.spec).fitted(about.layout, about.character).controller
    episodes, _ = collect(
        task.shared_lanes, base, Composition(), lambda o, b, s: 0.3 * np.sin(s + 1.0) * np.ones_like(b), list(range(8))
    )
    steps = [episode.transitions for episode in episodes]
    shown = np.concatenate([one.observation["observation"] for one in steps]).astype(np.float32)
    assert 0.1 < shown.std() < 2.0
    assert np.abs(shown.mean()) < 2.0
    rewards = np.concatenate([task.learner_reward(one.reward, one.discount) for one in steps]).astype(np.float32)
    paid = np.concatenate([one.reward for one in steps])
    np.testing.assert_allclose(task.own_reward(rewards, steps[0].discount[0]), paid, rtol=1e-6, atol=1e-5 * env.paid[1])
    return (shown - shown.mean()) / shown.std(), rewards


offsets = st.sampled_from([0.0]) | st.floats(1.0, 1e7) | st.floats(-1e7, -1.0)
scales = st.floats(-6.0, 6.0).map(lambda power: float(f"{10.0**power:.3e}"))
PLAIN = lessons(Measured())


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.tuples(offsets, scales), st.tuples(offsets, scales))
def test_the_learner_sees_the_same_in_any_units(shown: tuple[float, float], paid: tuple[float, float]) -> None:
    rounding = [FINE * abs(offset) / scale for offset, scale in (shown, paid)]  # what doubles leave of it
    observations, rewards = lessons(Measured(shown, paid))
    np.testing.assert_allclose(observations, PLAIN[0], atol=1e-5 + 4.0 * rounding[0])
    # The scale of rewards has two digits. A base that computes with a rounded observation is off by a little.
    np.testing.assert_allclose(rewards, PLAIN[1], rtol=0.1, atol=0.02 + 4.0 * rounding[0] + 60.0 * rounding[1])


def test_a_plant_in_extreme_units_is_learned_as_well(tmp_path: Path) -> None:
    env = Measured(shown=(1e7, 1e-6), paid=(-1e7, 1e-3))
    run = residual_rl.improve(lambda: Measured(env.shown, env.paid), env.base, out=tmp_path, steps=3000, **BUDGET)
    verdict = run.verdict()
    assert verdict.promoted, verdict
    steps = verdict.base.mean_return / (-1e7 - 30e-3)  # mean length of the episodes, whose starts both sides share
    assert (verdict.policy.mean_return / steps + 1e7) / 1e-3 > -8.0  # the base's: -30
    policy = residual_rl.load(tmp_path, env.base)
    shown = env._own(np.linspace(-0.8, 0.8, 9)[:, None])
    off = policy(shown) - (env.base(shown) - 1.0)
    assert np.abs(off).mean() < 0.5  # the base's: 1
    residual_rl.export(tmp_path, tmp_path / "bundle")
    exported = runtime.load(tmp_path / "bundle")
    np.testing.assert_allclose(exported(shown, env.base(shown)), policy(shown), atol=1e-5)
    assert json.loads((tmp_path / "environment.json").read_text())["layout"]["units"]["centre"] == [1e7]


def test_numbers_that_change_are_measured_by_their_spread_and_others_by_their_size() -> None:
    rng = np.random.default_rng(0)
    flag, rare = np.arange(400.0) % 2, np.arange(400.0) == 7.0
    wild = np.where(np.arange(400) == 3, 1e9, rng.uniform(-1.0, 1.0, 400))
    still = np.full(400, 1e7) + np.where(flag, 1e7 * FINE, 0.0)
    values = np.stack([1e7 + 1e-3 * flag, rare, wild, still, np.zeros(400), np.full(400, -0.02)], axis=1)
    centre, scale = units_of(values, np.full(6, FINE))
    assert (np.log2(scale) == np.rint(np.log2(scale))).all()
    np.testing.assert_allclose(np.log2(scale), np.log2([5e-4, 0.05, 0.8, 1e7, 1.0, 0.02]), atol=0.51)
    np.testing.assert_allclose(np.rint(centre / scale), centre / scale)
    seen = (values - centre) / scale
    assert np.array_equal(seen[:, 1].astype(np.float32) * scale[1] + centre[1], values[:, 1])  # flags stay what they are
    assert np.abs(seen[:, [0, 1, 3, 4, 5]]).max() < 40.0


SPACE = spaces.Dict(
    {
        "observation": spaces.Dict(
            {"count": spaces.Box(0, 2**31 - 1, (2,), np.int32), "place": spaces.Box(-np.inf, np.inf, (2, 1), np.float64)}
        ),
        "achieved_goal": spaces.Box(-np.inf, np.inf, (2,), np.float64),
        "desired_goal": spaces.Box(-np.inf, np.inf, (2,), np.float64),
    }
)
UNITS = Units(centre=(1e6, 5.0, 1e7, 0.3, -2e5, 0.0), scale=(1024.0, 3.0, 1e-3, 7.0, 1e-2, 1e4))
LAYOUT = replace(layout_of(SPACE, spaces.Box(-2.0, 6.0, (4,), np.float64)), units=UNITS)


def shown_by(size: int) -> Any:
    rng = np.random.default_rng(0)
    places = rng.normal(np.array([1e7, 0.3])[:, None], np.array([1e-3, 7.0])[:, None], (size, 2, 1))
    goals = (rng.normal([-2e5, 0.0], [1e-2, 1e4], (size, 2)) for _ in range(2))
    achieved, desired = goals
    count = rng.integers([10**6, 0], [10**6 + 5000, 10], (size, 2)).astype(np.int32)
    return {"observation": {"count": count, "place": places}, "achieved_goal": achieved, "desired_goal": desired}


def test_a_controller_sees_what_the_environment_showed_exactly_and_from_the_replay_but_for_rounding() -> None:
    shown = shown_by(50)
    flat = LAYOUT.flatten(shown, (50,))
    assert np.abs(flat["observation"]).max() < 10.0
    again = LAYOUT.unflatten(flat)
    for key in ("achieved_goal", "desired_goal"):
        assert np.array_equal(again[key], shown[key])
    assert np.array_equal(again["observation"]["place"], shown["observation"]["place"])
    stored: Any = map_observation(lambda array: array.astype(np.float32), without_state(flat))
    replayed = LAYOUT.unflatten(stored)
    assert np.array_equal(replayed["observation"]["count"], shown["observation"]["count"])  # whole numbers stay whole
    assert replayed["observation"]["count"].dtype == np.int32
    np.testing.assert_allclose(replayed["achieved_goal"], shown["achieved_goal"], rtol=0, atol=3e-3)
    np.testing.assert_allclose(replayed["observation"]["place"][:, 0], shown["observation"]["place"][:, 0], rtol=0, atol=1e-8)
    np.testing.assert_allclose(LAYOUT.goals(stored["desired_goal"]), shown["desired_goal"], rtol=0, atol=3e-3)


class FarReach(Reach):
    """`Reach` far from the origin, in tenths of a millimetre."""

    def _show(self) -> dict[str, Any]:
        shown = super()._show()
        goals = {key: 1e6 + 1e4 * shown[key] for key in ("achieved_goal", "desired_goal")}
        return shown | goals

    def _distance_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:  # type: ignore[override]
        assert np.min(achieved) > 5e5, "goals that are not the environment's"
        return Reach._distance_reward(achieved / 1e4, desired / 1e4)


def test_goals_share_their_units_and_are_rewarded_in_the_environments() -> None:
    opened = Opened(FarReach, horizon=10)
    seen: list[Any] = []

    def base(shown: Any) -> np.ndarray:
        seen.append(shown["desired_goal"])
        near = {key: (shown[key] - 1e6) / 1e4 for key in ("achieved_goal", "desired_goal")}
        return straight(shown | near)

    about = look(opened, base, lambda line: None)
    assert about.findings.sparse
    task = opened.task(about, 2)
    goals = np.array([[0.0, 0.0], [0.3, 0.4]])
    learners = about.layout.flatten(
        {"observation": {"tip": np.zeros((2, 2)), "arm": {"joints": np.zeros((2, 1, 2))}}}
        | {"achieved_goal": 1e6 + 1e4 * goals, "desired_goal": np.full((2, 2), 1e6)},
        (2,),
    )
    achieved, desired = (learners[key].astype(np.float32) for key in ("achieved_goal", "desired_goal"))
    assert np.abs(achieved).max() < 8.0
    np.testing.assert_allclose((achieved - desired)[1] / (achieved - desired)[1, 0], [1.0, 4 / 3], rtol=0.5)
    assert task.reward(achieved, desired, {}).tolist() == [0.0, -1.0]
    assert task.success is not None
    assert task.success(achieved, desired).tolist() == [True, False]
    assert all(np.min(goal) > 5e5 for goal in seen)


def test_a_goal_environment_in_millimetres_is_learned_as_well(tmp_path: Path) -> None:
    """The base goes a tenth of the way, and hardly ever arrives."""

    class InMillimetres(Reach):
        def _show(self) -> dict[str, Any]:
            shown = super()._show()
            shown["observation"]["tip"] = 1000.0 * shown["observation"]["tip"]
            return shown | {key: 500.0 + 1000.0 * shown[key] for key in ("achieved_goal", "desired_goal")}

        def _distance_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:  # type: ignore[override]
            return Reach._distance_reward((achieved - 500.0) / 1000.0, (desired - 500.0) / 1000.0)

    def timid(shown: dict[str, Any]) -> np.ndarray:
        goal = (shown["desired_goal"] - 500.0) / 1000.0
        tip = {"tip": shown["observation"]["tip"] / 1000.0}
        return np.array([0.5, 0.0]) + 0.1 * (straight({"observation": tip, "desired_goal": goal}) - np.array([0.5, 0.0]))

    budget = BUDGET | {"steps": 4000, "horizon": 10}
    verdict = residual_rl.improve(InMillimetres, timid, out=tmp_path, **budget).verdict()
    assert verdict.measured_by == "success"
    assert verdict.promoted, verdict
    assert verdict.policy.success_rate > verdict.base.success_rate + 0.2


def test_a_table_reads_the_environments_numbers() -> None:
    table = TableController(np.array([[1e7], [1e7 + 1e-3]]), np.array([[5.0], [1.0]]))
    layout = layout_of(spaces.Box(-np.inf, np.inf, (1,), np.float64), spaces.Box(-2.0, 6.0, (1,), np.float64))
    layout = replace(layout, units=Units((1e7,), (1e-3,)))
    flat = layout.flatten(np.array([[1e7 + 1e-3], [1e7]]), (2,))
    np.testing.assert_allclose(
        layout.from_unit(resolve(table, Spec(1, 0, 1, 10)).fitted(layout, None).controller(flat)), [[1.0], [5.0]]
    )


# --- bundles ---


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "units"
    write_bundle(out, made_residual(ALGORITHMS["default"], SPEC), SPEC, CONFIG, made_verdict(True), layout=LAYOUT)
    return out


SPEC = Spec(observation_size=4, goal_size=2, action_size=4, horizon=50)
CONFIG = made_config(ALGORITHMS["default"])


@pytest.mark.parametrize("name", ["default", "published"])
def test_a_bundle_centres_and_scales_as_the_policy_that_it_was_made_of(tmp_path: Path, name: str) -> None:
    residual = made_residual(ALGORITHMS[name], SPEC)
    exported = write_bundle(tmp_path / "out", residual, SPEC, CONFIG, made_verdict(True), layout=LAYOUT)
    assert exported.largest_difference < 1e-5
    policy = runtime.load(tmp_path / "out")
    shown, rng = shown_by(500), np.random.default_rng(1)
    flat, proposal = LAYOUT.flatten(shown, (500,)), rng.uniform(-1.0, 1.0, (500, 4))
    seen = policy._features(shown, proposal, (500,))
    single: Any = map_observation(lambda array: array.astype(np.float32), without_state(flat))
    own = np.asarray(residual.algorithm.features(single, proposal.astype(np.float32)))
    expected = ((own.clip(-1e9, 1e9) - policy.mean) * policy.factor).clip(-5.0, 5.0)
    assert np.array_equal(seen, expected)  # to the last bit
    assert differences(policy, residual, without_state(flat), proposal, LAYOUT).max() < 1e-5


def test_the_graph_centres_and_scales_in_double_precision(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    residual = made_residual(ALGORITHMS["default"], SPEC)
    write_bundle(tmp_path / "out", residual, SPEC, CONFIG, made_verdict(True), onnx=True, layout=LAYOUT)
    policy, session = runtime.load(tmp_path / "out"), onnxruntime.InferenceSession(tmp_path / "out" / bundle.ONNX)
    own = LAYOUT.raw(LAYOUT.flatten(shown_by(500), (500,)))
    proposal = np.random.default_rng(1).uniform(-2.0, 6.0, (500, 4)).astype(np.float32)
    types = {each.name: each.type for each in session.get_inputs()}
    assert types.pop("base_action") == "tensor(float)"
    assert set(types.values()) == {"tensor(double)"}
    (action,) = session.run(None, {name: own[name] for name in types} | {"base_action": proposal})
    np.testing.assert_allclose(action, policy(own, proposal), atol=2e-5)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("units.scale", 0.0, "units.scale.*below"),
        ("units.scale", -1.0, "units.scale.*below"),
        ("units.scale", np.nan, "units.scale.*not finite"),
        ("units.centre", np.inf, "units.centre.*not finite"),
    ],
)
def test_units_that_cannot_be_are_refused(exported: Path, tmp_path: Path, name: str, value: float, complaint: str) -> None:
    rewritten = copy_of(exported, tmp_path)
    reweigh(rewritten, lambda arrays: arrays[name].put(0, value))
    with pytest.raises(runtime.BundleError, match=complaint):
        runtime.load(rewritten)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda arrays: arrays.update({"units.scale": np.ones(6, np.float32)}), r"units.scale.*not float64\[6\]"),
        (lambda arrays: arrays.update({"units.centre": np.zeros(5)}), r"units.centre.*not float64\[6\]"),
        (lambda arrays: arrays.pop("units.centre"), "units.centre"),
    ],
)
def test_units_of_another_form_are_refused(exported: Path, tmp_path: Path, change: Any, complaint: str) -> None:
    rewritten = copy_of(exported, tmp_path)
    reweigh(rewritten, change)
    with pytest.raises(runtime.BundleError, match=complaint):
        runtime.load(rewritten)


def test_a_manifest_says_whether_there_are_units(exported: Path, tmp_path: Path) -> None:
    rewritten = copy_of(exported, tmp_path)
    for value, complaint in (("yes", "units must be true or false"), (False, "does not belong there")):
        rewrite(rewritten, lambda manifest, value=value: manifest.update(units=value), exported)
        with pytest.raises(runtime.BundleError, match=complaint):
            runtime.load(rewritten)


def copy_of(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "out"))
