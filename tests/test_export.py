"""From a finished run to a bundle, and to ONNX."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import ALGORITHMS, ROUNDING, SPEC, asked, made_bundle, made_config, made_residual, made_verdict, rewrite

import residual_rl
from residual_rl.bundles import bundle, runtime
from residual_rl.bundles.bundle import write_bundle
from residual_rl.bundles.runtime import load
from residual_rl.cli.main import app
from residual_rl.errors import ResidualRLError, RunError
from residual_rl.learning.actors import Actor
from residual_rl.learning.ddpg import DDPG
from residual_rl.learning.gated_ddpg import GatedDDPG
from residual_rl.learning.serialization import to_arrays
from residual_rl.presets import make_config
from residual_rl.reports.report import write_report
from residual_rl.residual import SILVER2018
from residual_rl.runs.reading import read_config
from residual_rl.runs.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, as training would have left it."""
    acting = ALGORITHMS["default"]
    config = make_config(
        task="slippery-push", controller="reactive-push", algorithm=replace(acting, actors=(Actor(cautions=(3.0, 0.5)),))
    )
    networks = made_residual(acting, residual_rl.TASKS["slippery-push"].spec).networks
    with Run(tmp_path_factory.mktemp("runs") / "finished", config) as run:
        run.save_policy(to_arrays(networks, "networks"), acting, step=400)
        run.finish(made_verdict(True))
    return run.path


def test_a_finished_run_becomes_a_bundle(run: Path, tmp_path: Path) -> None:
    exported = residual_rl.export(run, tmp_path / "deep" / "out")
    policy = load(tmp_path / "deep" / "out")
    assert policy.manifest["task"] == "slippery-push"
    assert policy.manifest["controller"] == "reactive-push"
    assert policy.promoted == exported.promoted == residual_rl.load(run).promoted
    assert exported.largest_difference < ROUNDING
    trained = residual_rl.load(run)
    envs = residual_rl.TASKS["slippery-push"].make_envs(5)
    observation, _ = envs.reset(seed=3)
    envs.close()
    np.testing.assert_allclose(policy(observation, trained.controller(observation)), trained(observation), atol=ROUNDING)


def test_policy_bundle_and_report_have_the_caution_that_was_selected_not_the_first(run: Path, tmp_path: Path) -> None:
    residual_rl.export(run, tmp_path / "out")
    manifest = load(tmp_path / "out").manifest
    assert residual_rl.load(run).caution == manifest["gate"]["caution"] == 0.5
    assert manifest["config_sha256"] == bundle.config_sha256(read_config(run))
    assert "of step 400, caution 0.5" in write_report([run], tmp_path / "report.html").read_text()


def test_the_command_line_says_the_same_in_json(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app(["export", str(run), str(tmp_path / "out"), "--json"], standalone_mode=False)
    said = json.loads(capsys.readouterr().out)
    assert said["path"] == str(tmp_path / "out")
    assert said["size"] == sum(entry.stat().st_size for entry in (tmp_path / "out").iterdir())


def test_what_is_there_is_never_overwritten(run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for out in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(RunError, match="is there already"):
            residual_rl.export(run, out)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_unfinished_run_is_not_exported(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "verdict.json").unlink()
    with pytest.raises(RunError, match="no verdict"):
        residual_rl.export(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_would_act_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rightly = bundle._arrays
    monkeypatch.setattr(bundle, "_arrays", lambda residual: {name: 1.001 * array for name, array in rightly(residual).items()})
    with pytest.raises(RunError, match="differ by"):
        made_bundle(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_configurations_hash_is_the_configurations(tmp_path: Path) -> None:
    made_bundle(tmp_path / "out")
    said = load(tmp_path / "out").manifest["config_sha256"]
    assert said == bundle.config_sha256(made_config(ALGORITHMS["default"]))
    assert said != bundle.config_sha256(made_config(GatedDDPG(hidden=(32, 32), actors=(Actor(cautions=(0.6,)),))))


def test_onnx_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    algorithm = ALGORITHMS["default"]
    with pytest.raises(ResidualRLError, match=r"residual-rl\[onnx\]"):
        write_bundle(tmp_path / "out", made_residual(algorithm), SPEC, made_config(algorithm), made_verdict(True), onnx=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_graph_is_the_same_function(tmp_path: Path, name: str) -> None:
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
        np.testing.assert_allclose(action, policy(observation, proposal), atol=ROUNDING)
        assert base.tobytes() == proposal.clip(-1, 1).tobytes()
        policy.scale = policy.trained_scale
        np.testing.assert_allclose(on, policy(observation, proposal), atol=ROUNDING)
        assert (out / bundle.ONNX).stat().st_size < (out / runtime.WEIGHTS).stat().st_size + 20_000


def test_no_action_of_the_graph_leaves_its_bounds_by_a_rounding_error(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from residual_rl.bundles.onnx_graph import save_onnx

    out, graph = tmp_path / "out", tmp_path / "policy.onnx"
    made_bundle(out)
    rng = np.random.default_rng(0)
    for _ in range(10):
        middle, half = rng.uniform(-1.0, 1.0, 4), rng.uniform(0.01, 1.0, 4)
        low, high = (each.astype(np.float32) for each in (middle - half, middle + half))
        bounds = {"low": low.tolist(), "high": high.tolist()}
        rewrite(out, lambda manifest, bounds=bounds: manifest.update(bounds=bounds))
        policy = load(out)
        save_onnx(policy, graph)
        session = onnxruntime.InferenceSession(graph)
        observation, _ = asked(policy, SPEC, 300)
        given = {name: np.asarray(array, np.float32) for name, array in observation.items()}
        given = {each.name: given[each.name] for each in session.get_inputs() if each.name in given}
        proposal = np.where(rng.random((300, 4)) < 0.5, low, high)
        (action,) = session.run(None, given | {"base_action": proposal})
        assert ((action >= low) & (action <= high)).all()


def test_the_published_compositions_scale_is_two() -> None:
    assert DDPG().composition == SILVER2018


def test_a_loaded_policy_takes_the_caution_of_a_bundle(run: Path, tmp_path: Path) -> None:
    policy = residual_rl.load(run)
    residual_rl.export(run, tmp_path / "out")
    exported = load(tmp_path / "out")
    observation, _ = asked(exported, residual_rl.TASKS["slippery-push"].spec, 200)
    base = policy.controller(observation)
    assert policy.caution == 0.5
    for policy.caution in (3.0, None):
        exported.caution = policy.caution
        np.testing.assert_allclose(policy(observation), exported(observation, base), atol=ROUNDING)
    with pytest.raises(ResidualRLError, match=r"caution must be None or a number from 0 to 1e\+06, not -1\.0"):
        policy.caution = -1.0


def test_a_loaded_policy_takes_the_scale_of_a_bundle_and_is_the_base_at_zero(run: Path, tmp_path: Path) -> None:
    policy = residual_rl.load(run)
    residual_rl.export(run, tmp_path / "out")
    exported = load(tmp_path / "out")
    observation, _ = asked(exported, residual_rl.TASKS["slippery-push"].spec, 200)
    base = policy.controller(observation)
    at_first = policy(observation)
    for policy.scale in (0.5, 0.1, 1.0):
        exported.scale = policy.scale
        np.testing.assert_allclose(policy(observation), exported(observation, base), atol=ROUNDING)
    np.testing.assert_array_equal(policy(observation), at_first)
    policy.scale = 0
    np.testing.assert_array_equal(policy(observation), base.clip(-1.0, 1.0))
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ResidualRLError, match=r"scale must be between 0 and 1\.0"):
            policy.scale = wrong
