"""An exported policy: it is the policy it was made of, needs NumPy alone, and nothing done to its files gets through."""

import json
import os
import shutil
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

import residual_rl
from residual_rl import bundle, runtime
from residual_rl.bundle import differences, probes, write_bundle
from residual_rl.config import Config, make_config
from residual_rl.errors import ResidualRLError, RunError
from residual_rl.learning.algorithm import Networks
from residual_rl.learning.ddpg import DDPG
from residual_rl.learning.gated_ddpg import GatedDDPG
from residual_rl.learning.normalizer import Normalizer
from residual_rl.learning.serialization import to_arrays
from residual_rl.policy import Residual
from residual_rl.residual import SILVER2018, Composition
from residual_rl.run import Run
from residual_rl.runtime import BundleError, load
from residual_rl.types import Spec
from residual_rl.verdict import Side, Verdict

SPEC = Spec(observation_size=10, goal_size=3, action_size=4, horizon=50)
SIDE = Side(0.5, (0.4, 0.6), -30.0, 12.0, 0.0, 0.1)

ALGORITHMS = {
    "default": GatedDDPG(hidden=(32, 32), caution=0.5),
    "full-size": GatedDDPG(caution=0.5),
    "half-scale": GatedDDPG(hidden=(32, 16), caution=0.2, composition=Composition(scale=0.5)),
    "base-not-clipped": GatedDDPG(hidden=(16,), num_critics=2, caution=0.2, composition=Composition(clip_base=False)),
    "base-seen": GatedDDPG(hidden=(32, 32), caution=0.5, composition=Composition(actor_sees_base=True)),
    "residual-scored": GatedDDPG(hidden=(32, 32), caution=0.1, composition=Composition(critic_scores="residual")),
    "published": DDPG(hidden=(32, 32)),
    "published-base-seen": DDPG(hidden=(32, 32), composition=Composition(scale=2.0, actor_sees_base=True)),
}


def made_residual(algorithm: Any, spec: Spec = SPEC) -> Residual:
    """One whose every parameter is as if it had learned something, without learning."""
    rng = np.random.default_rng(0)

    def drawn(path: Any, leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        name, fan_in = jax.tree_util.keystr(path), leaf.shape[-1]
        weight = name.endswith("weight") and "norms" not in name
        values = rng.normal(float("norms" in name), 1.2 / fan_in**0.5 if weight else 0.1, leaf.shape)
        return jax.numpy.asarray(values.astype(leaf.dtype))

    shapes = eqx.filter_eval_shape(lambda key: algorithm.init(spec, key).averaged, jax.random.key(0))
    actor, critics = jax.tree_util.tree_map_with_path(drawn, shapes[:2])
    mean, deviation = rng.normal(size=shapes.normalizer.mean.shape), rng.uniform(0.001, 3.0, shapes.normalizer.mean.shape)
    statistics = (np.float32(each) for each in (500.0, mean, 500.0 * deviation**2))
    return Residual(algorithm, Networks(actor, critics, Normalizer(*map(jax.numpy.asarray, statistics))))


def made_verdict(promoted: bool) -> Verdict:
    return Verdict("push", "mine", 20, SIDE, SIDE, 4, 1, 0.15, (0.01, 0.2), 0.04, promoted)


def made_config(algorithm: Any) -> Config:
    return make_config(task="push", controller="mine", algorithm=algorithm)


def made_bundle(out: Path, algorithm: Any = ALGORITHMS["default"], spec: Spec = SPEC, promoted: bool = True) -> Residual:
    residual = made_residual(algorithm, spec)
    write_bundle(out, residual, spec, made_config(algorithm), made_verdict(promoted))
    return residual


def asked(policy: runtime.Policy, spec: Spec, count: int, seed: int = 0) -> tuple[Any, np.ndarray]:
    arrays = {"normalizer.mean": policy.mean, "normalizer.factor": policy.factor}
    return probes(arrays, policy.manifest["features"], spec, count, seed)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "default"
    made_bundle(out)
    return out


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With few and small arrays, so that much can be tried on it."""
    out = tmp_path_factory.mktemp("bundles") / "small"
    made_bundle(out, GatedDDPG(hidden=(8,), num_critics=2, caution=0.2))
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, as training would have left it."""
    config = make_config(task="slippery-push", controller="reactive-push", algorithm=ALGORITHMS["default"])
    networks = made_residual(config.algorithm, residual_rl.TASKS["slippery-push"].spec).networks
    with Run(tmp_path_factory.mktemp("runs") / "finished", config) as run:
        run.save_policy(to_arrays(networks, "networks"), step=400)
        run.finish(made_verdict(True))
    return run.path


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_bundle_acts_as_the_policy_it_was_made_of(tmp_path: Path, name: str) -> None:
    residual = made_bundle(tmp_path / "out", ALGORITHMS[name])
    policy = load(tmp_path / "out")
    observation, proposal = asked(policy, SPEC, bundle.PROBES, seed=1)
    assert differences(policy, residual, observation, proposal).max() < 1e-6 * policy.trained_scale
    acting = (policy(observation, proposal) != proposal.clip(-1.0, 1.0)).any(axis=1).mean()
    assert acting > 0.99 if isinstance(ALGORITHMS[name], DDPG) else 0.03 < acting < 0.97


@pytest.mark.parametrize("algorithm", [ALGORITHMS["default"], ALGORITHMS["published"]])
def test_a_task_without_goals_takes_a_mere_array(tmp_path: Path, algorithm: Any) -> None:
    spec = SPEC._replace(goal_size=0)
    residual = made_bundle(tmp_path / "out", algorithm, spec)
    policy = load(tmp_path / "out")
    observation, proposal = asked(policy, spec, bundle.PROBES, seed=1)
    assert differences(policy, residual, observation, proposal).max() < 1e-6 * policy.trained_scale
    np.testing.assert_array_equal(policy(observation["observation"], proposal), policy(observation, proposal))


def test_one_observation_is_a_batch_of_one(exported: Path) -> None:
    policy = load(exported)
    observation, proposal = asked(policy, SPEC, 50)
    batch = policy(observation, proposal)
    for row in range(50):
        action = policy({name: array[row] for name, array in observation.items()}, proposal[row])
        assert action.shape == (4,)
        np.testing.assert_allclose(action, batch[row], atol=1e-6)


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
    np.testing.assert_allclose(action, low + (unit(observation, proposal) + 1.0) / 2.0 * (high - low), atol=1e-6)


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
    code = WITHOUT_JAX.format(module="residual_rl.runtime", path=str(exported), forbidden=["jax", "equinox"])
    assert in_a_fresh_process(code, Path(residual_rl.__file__).parents[1]) == "[]\n"


def test_the_copy_says_what_the_bundle_is_and_how_fast(exported: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", exported / "residual_policy.py"], capture_output=True, text=True, check=True, cwd="/"
    )
    said = json.loads(done.stdout)
    assert said["verdict"]["promoted"] is True
    assert 1.0 < said["microseconds"] < 1e5


def test_loading_executes_nothing_of_the_bundle(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "out")
    for name in ("residual_policy.py", "__init__.py", "runtime.py"):
        (tmp_path / "out" / name).write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    code = f"from residual_rl.runtime import load; load({str(tmp_path / 'out')!r})"
    in_a_fresh_process(code, Path(residual_rl.__file__).parents[1])
    assert not (tmp_path / "executed").exists()


class TestDamage:
    def test_bytes_altered_by_chance_are_noticed_or_change_nothing(self, small: Path, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        out, observation, proposal, expected = copied(small, tmp_path)
        files = {name: (small / name).read_bytes() for name in (runtime.MANIFEST, runtime.WEIGHTS)}
        refused = 0
        for _ in range(3000):
            name = rng.choice(list(files))
            whole = files[name]
            (out / name).write_bytes(mutated(rng, whole))
            try:
                np.testing.assert_array_equal(load(out)(observation, proposal), expected)
            except BundleError:
                refused += 1
            (out / name).write_bytes(whole)
        assert refused > 2500

    def test_values_altered_on_purpose_are_refused_or_harmless(self, small: Path, tmp_path: Path) -> None:
        """With the digest made anew, as one would who means harm. What loads still acts within its bounds."""
        rng = np.random.default_rng(0)
        out, observation, proposal, _ = copied(small, tmp_path)
        refused = 0
        for _ in range(2000):
            rewrite(out, lambda manifest: poison(rng, manifest), small)
            refused += self._refused_or_harmless(out, observation, proposal)
        assert 700 < refused < 2000

    def test_headers_altered_on_purpose_are_refused_or_harmless(self, small: Path, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        out, observation, proposal, _ = copied(small, tmp_path)
        whole = (small / runtime.WEIGHTS).read_bytes()
        (length,) = struct.unpack("<Q", whole[:8])
        refused = 0
        for _ in range(1000):
            header = json.loads(whole[8 : 8 + length])
            poison(rng, header)
            text = json.dumps(header).encode()
            (out / runtime.WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + length :])
            rewrite(out, lambda manifest: None)
            refused += self._refused_or_harmless(out, observation, proposal)
        assert refused > 700

    @staticmethod
    def _refused_or_harmless(out: Path, observation: Any, proposal: np.ndarray) -> bool:
        tracemalloc.start()
        try:
            policy = load(out)
        except BundleError:
            return True
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 1_000_000, "bytes, for files of a few kB"
        policy.scale = policy.trained_scale
        try:
            action = policy(observation, proposal)
        except ValueError:  # of other sizes
            return False
        assert np.isfinite(action).all()
        low, high = policy.manifest["bounds"]["low"], policy.manifest["bounds"]["high"]
        assert (action >= np.array(low) - 1e-6).all()
        assert (action <= np.array(high) + 1e-6).all()
        return False

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_weights_that_are_not_finite_are_refused(self, exported: Path, tmp_path: Path, value: float) -> None:
        out, *_ = copied(exported, tmp_path)
        for name in ("actor.1.weight", "critics.0.norm_bias", "normalizer.mean"):
            reweigh(out, lambda arrays, name=name: arrays[name].put(0, value), exported)
            with pytest.raises(BundleError, match=f"{name}.*not finite"):
                load(out)

    def test_weights_that_overflow_leave_the_base(self, exported: Path, tmp_path: Path) -> None:
        out, observation, proposal, _ = copied(exported, tmp_path)
        reweigh(out, lambda arrays: [array.fill(3e38) for name, array in arrays.items() if name.startswith("actor")])
        reweigh(out, lambda arrays: arrays["actor.1.weight"].put(np.arange(0, 1024, 2), -3e38))
        rewrite(out, lambda manifest: manifest.update(gate=None), None)
        reweigh(out, lambda arrays: [arrays.pop(name) for name in list(arrays) if name.startswith("critics")])
        action = load(out)(observation, proposal)
        assert np.isfinite(action).all()
        assert np.abs(action).max() <= 1.0

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda arrays: arrays.pop("actor.0.bias"), "actor.0.bias"),
            (lambda arrays: arrays.update(extra=np.zeros(1, np.float32)), "extra"),
            (lambda arrays: arrays.update({"actor.0.bias": np.zeros(32)}), r"actor.0.bias.*float32\[32\]"),
            (lambda arrays: arrays.update({"actor.0.bias": np.zeros((32, 1), np.float32)}), r"actor.0.bias.*float32\[32\]"),
        ],
    )
    def test_arrays_must_be_exactly_those_that_belong_there(
        self, exported: Path, tmp_path: Path, change: Callable[[Any], Any], message: str
    ) -> None:
        out, *_ = copied(exported, tmp_path)
        reweigh(out, change)
        with pytest.raises(BundleError, match=message):
            load(out)

    def test_files_that_are_none_are_refused(self, exported: Path, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="no file"):
            load(tmp_path / "nowhere")
        for name, most in ((runtime.MANIFEST, runtime.MAX_MANIFEST), (runtime.WEIGHTS, runtime.MAX_WEIGHTS)):
            out, *_ = copied(exported, tmp_path / name)
            (out / name).unlink()
            os.mkfifo(out / name)
            with pytest.raises(BundleError, match=f"no file.*{name}"):
                load(out)
            (out / name).unlink()
            with (out / name).open("wb") as file:
                file.truncate(most + 1)
            with pytest.raises(BundleError, match="larger"):
                load(out)

    @pytest.mark.parametrize(
        "text",
        ["", "[" * 100_000, "{" * 50_000, '{"a":' * 900 + "1" + "}" * 900, "9" * 10_000, "null", "\ud800", '{"format": 1}'],
    )
    def test_json_that_is_no_manifest_is_refused(self, exported: Path, tmp_path: Path, text: str) -> None:
        out, *_ = copied(exported, tmp_path)
        (out / runtime.MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(BundleError):
            load(out)
        if text.startswith("{"):
            nested = json.dumps({"format": runtime.FORMAT})[:-1] + ', "deep": ' + '{"a":' * 980 + "1" + "}" * 980 + "}"
            (out / runtime.MANIFEST).write_text(nested)
            with pytest.raises(BundleError):
                load(out)

    def test_another_format_is_named(self, exported: Path, tmp_path: Path) -> None:
        out, *_ = copied(exported, tmp_path)
        rewrite(out, lambda manifest: manifest.update(format="residual-rl bundle 2"))
        with pytest.raises(BundleError, match="residual-rl bundle 1"):
            load(out)


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


class TestExport:
    def test_a_finished_run_becomes_a_bundle(self, run: Path, tmp_path: Path) -> None:
        exported = residual_rl.export(run, tmp_path / "deep" / "out")
        policy = load(tmp_path / "deep" / "out")
        assert policy.manifest["task"] == "slippery-push"
        assert policy.manifest["controller"] == "reactive-push"
        assert policy.promoted == exported.promoted == residual_rl.load(run).promoted
        assert exported.largest_difference < 1e-6
        trained = residual_rl.load(run)
        envs = residual_rl.TASKS["slippery-push"].make_envs(5)
        observation, _ = envs.reset(seed=3)
        envs.close()
        np.testing.assert_allclose(policy(observation, trained.controller(observation)), trained(observation), atol=1e-6)

    def test_the_command_line_says_the_same_in_json(self, run: Path, tmp_path: Path) -> None:
        arguments = [sys.executable, "-m", "residual_rl.cli", "export", run, tmp_path / "out", "--json"]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        said = json.loads(done.stdout)
        assert said["path"] == str(tmp_path / "out")
        assert said["size"] == sum(entry.stat().st_size for entry in (tmp_path / "out").iterdir())

    def test_what_is_there_is_never_overwritten(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("years of work")
        for out in (tmp_path, tmp_path / "thesis.tex"):
            with pytest.raises(RunError, match="is there already"):
                residual_rl.export(run, out)
        assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]

    def test_an_unfinished_run_is_not_exported(self, run: Path, tmp_path: Path) -> None:
        shutil.copytree(run, tmp_path / "run")
        (tmp_path / "run" / "verdict.json").unlink()
        with pytest.raises(RunError, match="no verdict"):
            residual_rl.export(tmp_path / "run", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_bundle_that_would_act_otherwise_is_not_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        rightly = bundle._arrays
        monkeypatch.setattr(
            bundle, "_arrays", lambda residual: {name: 1.001 * array for name, array in rightly(residual).items()}
        )
        with pytest.raises(RunError, match="differ by"):
            made_bundle(tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_the_configurations_hash_is_the_configurations(self, exported: Path) -> None:
        said = load(exported).manifest["config_sha256"]
        assert said == bundle.config_sha256(made_config(ALGORITHMS["default"]))
        assert said != bundle.config_sha256(made_config(GatedDDPG(hidden=(32, 32), caution=0.6)))

    def test_onnx_that_is_not_installed_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("residual_rl.onnx_graph.find_spec", lambda name: None)
        algorithm = ALGORITHMS["default"]
        with pytest.raises(ResidualRLError, match=r"residual-rl\[onnx\]"):
            write_bundle(
                tmp_path / "out", made_residual(algorithm), SPEC, made_config(algorithm), made_verdict(True), onnx=True
            )
        assert list(tmp_path.iterdir()) == []


class TestOnnx:
    @pytest.mark.parametrize("name", ALGORITHMS)
    def test_the_graph_is_the_same_function(self, tmp_path: Path, name: str) -> None:
        pytest.importorskip("onnx")
        onnxruntime = pytest.importorskip("onnxruntime")
        algorithm = ALGORITHMS[name]
        for promoted in (True, False):
            out = tmp_path / str(promoted)
            write_bundle(out, made_residual(algorithm), SPEC, made_config(algorithm), made_verdict(promoted), onnx=True)
            policy, session = load(out), onnxruntime.InferenceSession(out / bundle.ONNX)
            observation, proposal = asked(policy, SPEC, 2000)
            proposal = proposal.astype(np.float32)
            given = {name: np.asarray(array, np.float32) for name, array in (observation | {"base_action": proposal}).items()}
            given = {each.name: given[each.name] for each in session.get_inputs() if each.name in given}
            (action,) = session.run(None, given)
            (base,) = session.run(None, given | {"scale": np.array(0.0, np.float32)})
            (on,) = session.run(None, given | {"scale": np.array(policy.trained_scale, np.float32)})
            np.testing.assert_allclose(action, policy(observation, proposal), atol=2e-6)
            assert base.tobytes() == proposal.clip(-1, 1).tobytes()
            policy.scale = policy.trained_scale
            np.testing.assert_allclose(on, policy(observation, proposal), atol=2e-6)
            assert (out / bundle.ONNX).stat().st_size < (out / runtime.WEIGHTS).stat().st_size + 20_000


def test_the_published_compositions_scale_is_two() -> None:
    assert DDPG().composition == SILVER2018


def copied(exported: Path, tmp_path: Path) -> tuple[Path, Any, np.ndarray, np.ndarray]:
    """A copy to be damaged, and what the whole one does."""
    shutil.copytree(exported, tmp_path / "out")
    policy = load(exported)
    observation, proposal = asked(policy, SPEC, 20)
    return tmp_path / "out", observation, proposal, policy(observation, proposal)


def rewrite(out: Path, change: Callable[[dict[str, Any]], Any], source: Path | None = None) -> None:
    """Changes the manifest (that of `source`) and makes the digest right again."""
    manifest = json.loads(((source or out) / runtime.MANIFEST).read_text())
    change(manifest)
    manifest["sha256"] = runtime.digest(manifest, (out / runtime.WEIGHTS).read_bytes())
    (out / runtime.MANIFEST).write_text(json.dumps(manifest))


def reweigh(out: Path, change: Callable[[dict[str, np.ndarray]], Any], source: Path | None = None) -> None:
    """Changes the arrays (those of `source`) and makes the digest right again."""
    arrays = {name: array.copy() for name, array in load_arrays(((source or out) / runtime.WEIGHTS).read_bytes()).items()}
    change(arrays)
    (out / runtime.WEIGHTS).write_bytes(save_arrays(arrays))
    rewrite(out, lambda manifest: None)


def mutated(rng: np.random.Generator, whole: bytes) -> bytes:
    """The bytes with a few changed, some cut out, some put in, or cut short."""
    data, at = bytearray(whole), int(rng.integers(len(whole)))
    if rng.random() < 0.5:
        at = int(rng.integers(min(len(whole), 1500)))  # where the structure is
    match rng.integers(4):
        case 0:
            for _ in range(rng.integers(1, 4)):
                data[rng.integers(len(data)) if rng.random() < 0.3 else at] ^= int(rng.integers(1, 256))
        case 1:
            del data[at : at + int(rng.integers(1, 20))]
        case 2:
            data[at:at] = rng.bytes(int(rng.integers(1, 20)))
        case 3:
            del data[at:]
    return bytes(data)


POISON = [
    None, True, False, 0, -1, 1, 2, 3, 31, 33, 2**16, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, float("nan"),
    float("inf"), float("-inf"), "", "0", "observation", "x" * 1000, [], [1], [[]], [0] * 100, [2**40, 2**40], {}, {"scale": 1},
    [32, 32, 32],
    ["observation"], ["base_action", "base_action"], [0, 0], [0, -4], [-128, 0], ["a", 1],
]  # fmt: skip


def poison(rng: np.random.Generator, values: Any) -> None:
    """Replaces, removes or adds an entry somewhere in nested JSON values."""
    while True:
        keys = list(values) if isinstance(values, dict) else list(range(len(values)))
        key = keys[rng.integers(len(keys))]
        if isinstance(values[key], dict | list) and values[key] and rng.random() < 0.7:
            values = values[key]
            continue
        if rng.random() < 0.1:
            del values[key]
        elif rng.random() < 0.05 and isinstance(values, dict):
            values["more"] = values[key]
        else:
            values[key] = POISON[rng.integers(len(POISON))]
        return
