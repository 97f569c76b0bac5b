"""Runs in registered environments from the command line: evaluated, watched and diagnosed."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_cli import command
from test_custom_runs import stop_after
from tiny import TINY

import residual_rl
from residual_rl.errors import Interrupted

FEW = TINY | {"steps": 60, "evaluation_interval": 40, "tell": None}


@pytest.fixture(scope="module")
def law(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that answers with half of what it is shown."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = onnx.numpy_helper.from_array(np.full((1, 1), 0.5, np.float32), "weights")
    ends = [helper.make_tensor_value_info(name, kind, ["B", 1]) for name in ("shown", "action")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["shown", "weights"], ["action"])], "law", ends[:1], ends[1:], [weights]
    )
    path = tmp_path_factory.mktemp("law") / "law.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def run(law: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "drawn"
    residual_rl.improve("drawn_world:Drawn-v0", str(law), out=out, **FEW)
    return out


def test_a_run_is_evaluated_in_its_environment(run: Path, law: Path) -> None:
    done = command("evaluate", run, "--controller", law, "--episodes", "4", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["episodes"] == 4
    without = command("evaluate", run, "--episodes", "4")
    assert without.returncode == 1
    assert "on the command line --controller FILE" in without.stderr


def test_a_run_is_watched_as_a_film_that_its_environment_draws(run: Path, law: Path, tmp_path: Path) -> None:
    for name in ("film.gif", "strip.png"):
        done = command("watch", run, "--controller", law, "--episodes", "2", "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "success in " in done.stdout
        assert (tmp_path / name).stat().st_size > 100


def test_a_run_is_diagnosed_finished_or_not(run: Path, law: Path, tmp_path: Path) -> None:
    found = json.loads(command("doctor", run, "--json").stdout)
    assert found["findings"][0]["name"] == "gain"
    with pytest.raises(Interrupted):
        residual_rl.improve("drawn_world:Drawn-v0", str(law), out=tmp_path, on_progress=stop_after(3), **FEW)
    for more in ([], ["--controller", law], ["--env", "drawn_world:Drawn-v0"]):
        done = command("doctor", tmp_path, *more, "--json")
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["findings"]) == 11
