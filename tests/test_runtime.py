"""An exported policy: it is the policy it was made of, needs NumPy alone, and acts only as it was asked to."""

import ast
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import ALGORITHMS, ROUNDING, SPEC, asked, made_bundle, made_config, made_residual, made_verdict, rewrite
from gymnasium import spaces, vector

import residual_rl
from residual_rl.bundles import bundle, runtime
from residual_rl.bundles.bundle import differences
from residual_rl.bundles.runtime import load
from residual_rl.errors import ResidualRLError
from residual_rl.learning.actors import Actor
from residual_rl.learning.ddpg import DDPG
from residual_rl.policy import Policy
from residual_rl.residual import Composition
from residual_rl.spaces import layout_of


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "default"
    made_bundle(out)
    return out


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_bundle_acts_as_the_policy_it_was_made_of(tmp_path: Path, name: str) -> None:
    residual = made_bundle(tmp_path / "out", ALGORITHMS[name])
    policy = load(tmp_path / "out")
    observation, proposal = asked(policy, SPEC, bundle.PROBES, seed=1)
    assert differences(policy, residual, observation, proposal).max() < ROUNDING
    acting = (policy(observation, proposal) != proposal.clip(-1.0, 1.0)).any(axis=1).mean()
    assert acting > 0.99 if name == "ungated" or isinstance(ALGORITHMS[name], DDPG) else 0.03 < acting < 0.97


@pytest.mark.parametrize("algorithm", [ALGORITHMS["default"], ALGORITHMS["published"]])
def test_a_task_without_goals_takes_a_mere_array(tmp_path: Path, algorithm: Any) -> None:
    spec = SPEC._replace(goal_size=0)
    residual = made_bundle(tmp_path / "out", algorithm, spec)
    policy = load(tmp_path / "out")
    observation, proposal = asked(policy, spec, bundle.PROBES, seed=1)
    assert differences(policy, residual, observation, proposal).max() < ROUNDING
    np.testing.assert_array_equal(policy(observation["observation"], proposal), policy(observation, proposal))


def nested(size: int) -> spaces.Dict:
    """So many numbers, in three entries."""
    camera = spaces.Box(0, 255, (2, 2), np.uint8)
    return spaces.Dict(
        {"joints": spaces.Box(-9, 9, (size - 5,)), "seen": spaces.Dict({"a/b": camera, "lamp": spaces.MultiBinary(1)})}
    )


@pytest.mark.parametrize("goal_size", [0, 8])
def test_a_dictionary_is_joined_as_in_training(tmp_path: Path, goal_size: int) -> None:
    spec, box = SPEC._replace(goal_size=goal_size), spaces.Box(-1.0, 1.0, (4,))
    goals = {key: nested(8) for key in ("achieved_goal", "desired_goal")}
    space = spaces.Dict({"observation": nested(10), **goals}) if goal_size else nested(10)
    layout = layout_of(space, box)
    residual = made_residual(ALGORITHMS["default"], spec)
    bundle.write_bundle(tmp_path / "out", residual, spec, made_config(ALGORITHMS["default"]), made_verdict(True), layout=layout)
    policy, proposal = load(tmp_path / "out"), np.random.default_rng(0).uniform(-1.0, 1.0, (30, 4))
    batched = vector.utils.batch_space(space, 30)
    batched.seed(0)
    shown = batched.sample()
    flat = layout.flatten(shown, (30,))
    action = policy(shown, proposal)
    np.testing.assert_array_equal(action, policy(flat if goal_size else flat["observation"], proposal))
    assert (action != proposal).any()
    for row, one in enumerate(vector.utils.iterate(batched, shown)):
        np.testing.assert_allclose(policy(one, proposal[row]), action[row], atol=ROUNDING)
    if not goal_size:
        np.testing.assert_array_equal(action, policy(flat, proposal))  # by the library's names
    inner = shown["observation"] if goal_size else shown
    del inner["seen"]["a/b"]
    with pytest.raises(ValueError, match="no 'seen/a/b'"):
        policy(shown, proposal)
    inner["seen"]["a/b"] = np.zeros((30, 4))
    with pytest.raises(ValueError, match=r"'seen/a/b' has shape \(30, 4\), expected \[2, 2\]"):
        policy(shown, proposal)


def test_one_observation_is_a_batch_of_one(exported: Path) -> None:
    policy = load(exported)
    observation, proposal = asked(policy, SPEC, 50)
    batch = policy(observation, proposal)
    for row in range(50):
        action = policy({name: array[row] for name, array in observation.items()}, proposal[row])
        assert action.shape == (4,)
        np.testing.assert_allclose(action, batch[row], atol=ROUNDING)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scale_zero_is_the_base_bit_for_bit(exported: Path, dtype: type) -> None:
    policy = load(exported)
    policy.scale = 0
    _, proposal = asked(policy, SPEC, 1000)
    proposal = proposal.astype(dtype)
    proposal[0], proposal[1] = -0.0, np.nextafter(dtype(1), dtype(0))
    action = policy(None, proposal)  # nothing is looked at but the base action
    assert action.dtype == dtype
    assert action.tobytes() == proposal.clip(-1, 1).tobytes()
    inside = np.abs(proposal).max(axis=1) <= 1
    assert action[inside].tobytes() == proposal[inside].tobytes()


def test_where_the_gate_is_shut_the_base_acts_bit_for_bit(exported: Path) -> None:
    policy = load(exported)
    observation, proposal = asked(policy, SPEC, 1000)
    proposal[:, 0] = -0.0
    action = policy(observation, proposal)
    shut = action[:, 0] == 0.0
    assert shut.any()
    assert action[shut].tobytes() == proposal[shut].clip(-1.0, 1.0).tobytes()


def test_a_policy_that_was_not_promoted_delivers_the_base_until_its_scale_is_set(tmp_path: Path, exported: Path) -> None:
    made_bundle(tmp_path / "out", promoted=False)
    policy, promoted = load(tmp_path / "out"), load(exported)
    assert (policy.promoted, policy.scale, policy.trained_scale) == (False, 0.0, 1.0)
    assert (promoted.promoted, promoted.scale) == (True, 1.0)
    observation, proposal = asked(policy, SPEC, 200)
    np.testing.assert_array_equal(policy(observation, proposal), proposal.clip(-1.0, 1.0))
    policy.scale = policy.trained_scale
    np.testing.assert_array_equal(policy(observation, proposal), promoted(observation, proposal))
    assert (policy(observation, proposal) != proposal.clip(-1.0, 1.0)).any()


def test_caution_set_at_run_time_is_that_of_another_bundle(tmp_path: Path, exported: Path) -> None:
    policy = load(exported)
    observation, proposal = asked(policy, SPEC, 500)
    base, acting = proposal.clip(-1.0, 1.0), []
    assert policy.caution == 0.5
    for policy.caution in (3.0, 0.5, 0.0, None):
        made_bundle(tmp_path / str(policy.caution), replace(ALGORITHMS["default"], actors=(Actor(cautions=(policy.caution,)),)))
        action = policy(observation, proposal)
        np.testing.assert_array_equal(action, load(tmp_path / str(policy.caution))(observation, proposal))
        acting.append((action != base).any(axis=1).mean())
    assert sorted(acting) == acting
    assert acting[0] < acting[2] < acting[3] == 1.0


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_caution_is_none_or_a_number_of_deviations(exported: Path, tmp_path: Path, value: float) -> None:
    policy = load(exported)
    with pytest.raises(ValueError, match="caution must be None or at least 0"):
        policy.caution = value
    made_bundle(tmp_path / "out", ALGORITHMS["published"])
    ungated = load(tmp_path / "out")
    assert ungated.caution is None
    with pytest.raises(ValueError, match="learned without a gate"):
        ungated.caution = 1.0


def test_where_nothing_is_gated_there_is_no_caution() -> None:
    spec = residual_rl.TASKS["slippery-push"].spec
    controller = residual_rl.controllers.make_controller("reactive-push", spec)
    alone = Policy(controller, Composition(), None, spec)
    ungated = Policy(controller, Composition(), made_residual(ALGORITHMS["published"], spec), spec)
    for policy, complaint in ((alone, "the base acts alone"), (ungated, "learned without a gate")):
        with pytest.raises(ResidualRLError, match=complaint):
            policy.caution = 1.0


def test_a_smaller_scale_moves_the_action_less(tmp_path: Path) -> None:
    made_bundle(tmp_path / "out", ALGORITHMS["published"])
    policy = load(tmp_path / "out")
    observation, proposal = asked(policy, SPEC, 200)
    moved = []
    for policy.scale in (0.01, 0.02):
        moved.append(policy(observation, 0.5 * proposal) - 0.5 * proposal)
    np.testing.assert_allclose(moved[1], 2.0 * moved[0], atol=1e-6)


def test_bounds_other_than_one_are_mapped_inside(exported: Path, tmp_path: Path) -> None:
    low, high = np.array([-2.0, 0.0, -1.0, 5.0]), np.array([1.0, 10.0, 1.0, 5.5])
    shutil.copytree(exported, tmp_path / "out")
    rewrite(tmp_path / "out", lambda manifest: manifest.update(bounds={"low": list(low), "high": list(high)}))
    unit, policy = load(exported), load(tmp_path / "out")
    observation, proposal = asked(unit, SPEC, 1000)
    action = policy(observation, low + (proposal + 1.0) / 2.0 * (high - low))
    # The conversion of the base action rounds differently, and the widest bounds multiply that by 5.
    np.testing.assert_allclose(action, low + (unit(observation, proposal) + 1.0) / 2.0 * (high - low), atol=5 * ROUNDING)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_action_leaves_its_bounds_by_a_rounding_error(exported: Path, tmp_path: Path, dtype: type) -> None:
    rng = np.random.default_rng(0)
    for number in range(20):
        middle, half = rng.uniform(-1.0, 1.0, 4), rng.uniform(0.01, 1.0, 4)
        low, high = middle - half, middle + half
        out = tmp_path / str(number)
        shutil.copytree(exported, out)
        rewrite(out, lambda manifest, low=low, high=high: manifest.update(bounds={"low": list(low), "high": list(high)}))
        policy = load(out)
        policy.scale = 1.0
        observation, _ = asked(policy, SPEC, 50)
        action = policy(observation, np.where(rng.random((50, 4)) < 0.5, low, high).astype(dtype))
        assert ((action >= low.astype(dtype)) & (action <= high.astype(dtype))).all()


WITHOUT_JAX = """
import sys
import {module} as module
policy = module.load({path!r})
observation = {{"observation": [0.0] * 10, "achieved_goal": [0.0] * 3, "desired_goal": [0.1] * 3}}
assert policy(observation, [0.1, 0.2, 0.3, 0.4]).shape == (4,)
print([name for name in {forbidden!r} if name in sys.modules])
"""


def in_a_fresh_process(code: str, path: Path) -> str:
    env = os.environ | {"PYTHONPATH": str(path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=path, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_copy_in_the_bundle_needs_numpy_alone(exported: Path) -> None:
    forbidden = ["jax", "residual_rl", "safetensors", "scipy", "pydantic", "gymnasium", "mujoco"]
    code = WITHOUT_JAX.format(module="residual_policy", path=str(exported), forbidden=forbidden)
    assert in_a_fresh_process(code, exported) == "[]\n"


def test_the_librarys_own_runtime_does_not_import_jax(exported: Path) -> None:
    code = WITHOUT_JAX.format(module="residual_rl.bundles.runtime", path=str(exported), forbidden=["jax", "equinox"])
    assert in_a_fresh_process(code, Path(residual_rl.__file__).parents[1]) == "[]\n"


def test_the_copy_says_what_the_bundle_is_and_how_fast(exported: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", exported / "residual_policy.py"], capture_output=True, text=True, check=True, cwd="/"
    )
    said = json.loads(done.stdout)
    assert said["verdict"]["promoted"] is True
    assert 1.0 < said["microseconds"] < 1e5


def test_the_file_keeps_to_python_3_8() -> None:
    """JetPack 5 has Python 3.8. Annotations may be newer: they are never evaluated."""
    tree = ast.parse(Path(runtime.__file__).read_text(), feature_version=(3, 8))
    assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    annotations = [getattr(node, name, None) for node in ast.walk(tree) for name in ("annotation", "returns")]
    unevaluated = {id(inner) for one in annotations if one is not None for inner in ast.walk(one)}
    newer = []
    for node in (node for node in ast.walk(tree) if id(node) not in unevaluated):
        match node:
            case ast.BinOp(op=ast.BitOr()) | ast.AugAssign(op=ast.BitOr()):
                newer.append(f"line {node.lineno}: | of dictionaries or types")
            case ast.Subscript(value=ast.Name(id="dict" | "list" | "tuple" | "set" | "Mapping")):
                newer.append(f"line {node.lineno}: a subscripted built-in type")
            case ast.Attribute(attr="removeprefix" | "removesuffix" | "lcm" | "nextafter" | "cache" | "bit_count"):
                newer.append(f"line {node.lineno}: {node.attr}")
            case ast.Call(keywords=[*_, ast.keyword(arg="strict" | "total")]):
                newer.append(f"line {node.lineno}: zip(strict=...)")
    assert newer == []


@pytest.mark.skipif(shutil.which("python3.8") is None, reason="there is no Python 3.8")
def test_a_bundle_runs_on_python_3_8(exported: Path) -> None:
    done = subprocess.run(["python3.8", "-c", "import numpy"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this Python 3.8 has no NumPy")
    done = subprocess.run(["python3.8", exported / "residual_policy.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"]["promoted"] is True


def test_loading_executes_nothing_of_the_bundle(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "out")
    for name in ("residual_policy.py", "__init__.py", "runtime.py"):
        (tmp_path / "out" / name).write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    code = f"from residual_rl.bundles.runtime import load; load({str(tmp_path / 'out')!r})"
    in_a_fresh_process(code, Path(residual_rl.__file__).parents[1])
    assert not (tmp_path / "executed").exists()


class TestBadCalls:
    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"observation": np.zeros(9)}, r"observation has shape \(9,\), expected \[10\]"),
            ({"observation": np.zeros((2, 10))}, "observation has shape"),
            ({"desired_goal": np.zeros((1, 1, 3))}, "desired_goal has shape"),
            ({"achieved_goal": None}, "achieved_goal"),
            ({"desired_goal": np.array([0.0, np.nan, 0.0])}, "desired_goal holds values that are not finite"),
            ({"observation": np.full(10, 1e300)}, "observation holds values that are not finite"),
        ],
    )
    def test_an_observation_that_cannot_be_is_named(self, exported: Path, changed: dict[str, Any], message: str) -> None:
        observation = {"observation": np.zeros(10), "achieved_goal": np.zeros(3), "desired_goal": np.zeros(3)} | changed
        shown = {name: value for name, value in observation.items() if value is not None}
        with pytest.raises(ValueError, match=message):
            load(exported)(shown, np.zeros(4))

    @pytest.mark.parametrize("base_action", [np.zeros(3), np.float64(0.0), np.array([0.0, np.nan, 0.0, 0.0])])
    @pytest.mark.parametrize("scale", [0.0, 1.0])
    def test_a_base_action_that_cannot_be_is_named(self, exported: Path, base_action: Any, scale: float) -> None:
        policy = load(exported)
        policy.scale = scale
        observation = {"observation": np.zeros(10), "achieved_goal": np.zeros(3), "desired_goal": np.zeros(3)}
        with pytest.raises(ValueError, match="base_action"):
            policy(observation, base_action)

    @pytest.mark.parametrize("scale", [-0.1, 1.1, float("nan")])
    def test_a_scale_beyond_the_trained_one_is_refused(self, exported: Path, scale: float) -> None:
        with pytest.raises(ValueError, match=r"between 0 and 1\.0"):
            load(exported).scale = scale
