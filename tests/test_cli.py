"""The command line as a user types it: what it prints, where, and how it ends."""

import inspect
import json
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from tiny import TINY

import residual_rl
from residual_rl import api
from residual_rl.api import configure
from residual_rl.cli.console import show
from residual_rl.cli.main import app, main
from residual_rl.config import described_fields, to_json
from residual_rl.controllers import CONTROLLERS
from residual_rl.errors import ResidualRLError
from residual_rl.presets import METHODS, PRESETS
from residual_rl.studies import STUDIES
from residual_rl.tasks import TASKS

GROUP = typer.main.get_command(app)
assert isinstance(GROUP, typer.core.TyperGroup)
COMMANDS = GROUP.commands


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What a process of its own would have said and returned, without one: to import everything takes seconds."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["residual-rl", *map(str, arguments)])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
    return subprocess.CompletedProcess(arguments, int(status), out.getvalue(), err.getvalue())


def process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    started = [sys.executable, "-m", "residual_rl.cli.main", *map(str, arguments)]
    return subprocess.run(started, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "finished"
    residual_rl.improve("push", out=out, **(TINY | {"steps": 400}))
    return out


@pytest.mark.parametrize("arguments", [["evaluate", "push", "--episodes", "2"], ["report", "nowhere"]])
def test_a_process_says_and_returns_the_same(arguments: list[str]) -> None:
    here, there = command(*arguments), process(*arguments)
    assert (here.returncode, here.stdout, here.stderr) == (there.returncode, there.stdout, there.stderr)


def test_list_shows_everything_that_can_be_asked_for() -> None:
    shown = command("list").stdout
    for name in (*TASKS, *CONTROLLERS, *PRESETS, *STUDIES, *METHODS):
        assert name in shown


def test_help_names_every_command() -> None:
    shown = command("--help").stdout
    assert all(re.search(rf"^. {name} ", shown, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_describes_every_option(name: str) -> None:
    done = command(name, "--help")
    assert done.returncode == 0
    described = " ".join(done.stdout.split())
    for parameter in COMMANDS[name].params:
        assert parameter.help, f"{name}: {parameter.name} has no help"
        assert parameter.help.split()[0] in described


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_has_help(name: str) -> None:
    shown = command(name, "--help")
    assert shown.returncode == 0
    found = next(one for one in app.registered_commands if name in (one.name, getattr(one.callback, "__name__", None)))
    assert found.callback
    assert found.callback.__doc__
    for parameter in inspect.signature(found.callback).parameters.values():
        info = parameter.annotation.__metadata__[0]
        assert info.help, f"{name}: {parameter.name} has no help"
        assert parameter.name.strip("_").replace("as_", "").replace("_", "-") in shown.stdout.lower()


def test_config_lists_every_hyperparameter_with_its_value() -> None:
    values = json.loads(command("config", "push", "--json").stdout)
    assert values == to_json(configure("push"))
    shown = command("config", "push", "--preset", "silver2018", "--set", "batch_size=77").stdout
    for path, *_ in described_fields(configure("push", preset="silver2018")):
        assert path in shown
    assert re.search(r"batch_size +77 ", shown)


def test_what_is_set_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def improve(*arguments: Any, **fields: Any) -> None:
        asked.append(fields)
        raise ResidualRLError("enough")

    monkeypatch.setattr(api, "improve", improve)
    command(
        "train", "push", "--set", "algorithm.composition.scale=0.5", "--success", "held:5", "--horizon", "9", "--log", "wandb"
    )
    assert asked[0]["algorithm.composition.scale"] == 0.5
    assert (asked[0]["success"], asked[0]["horizon"], asked[0]["log"]) == ("held:5", 9, "wandb")


def test_json_of_a_controller_is_one_object_and_nothing_else() -> None:
    done = command("evaluate", "push", "--controller", "zero", "--episodes", "8", "--json")
    result = json.loads(done.stdout)
    assert result["task"] == "push"
    assert result["episodes"] == 8
    assert 0.0 <= result["base"]["interval"][0] <= result["base"]["success_rate"] <= result["base"]["interval"][1] <= 1.0
    assert "policy" not in result


def test_json_of_a_run_holds_the_whole_comparison(finished: Path) -> None:
    result = json.loads(command("evaluate", finished, "--episodes", "8", "--json").stdout)
    assert {"task", "episodes", "base", "policy", "fixed", "broken", "p_value", "difference_interval"} <= result.keys()
    assert "promoted" not in result  # that is the verdict's to say
    assert {"success_rate", "interval", "mean_return", "return_interval"} <= result["policy"].keys()
    assert result["measured_by"] == "success"


def test_json_of_a_network_is_one_object_too(tmp_path: Path) -> None:
    """What was found out about it is said elsewhere."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = onnx.numpy_helper.from_array(np.zeros((3, 1), np.float32), "weights")
    ends = [helper.make_tensor_value_info(name, kind, ["B", size]) for name, size in (("shown", 3), ("action", 1))]
    node = helper.make_node("MatMul", ["shown", "weights"], ["action"])
    graph = helper.make_graph([node], "law", ends[:1], ends[1:], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "law.onnx")
    done = command("evaluate", "Pendulum-v1", "--controller", tmp_path / "law.onnx", "--episodes", "2", "--json")
    assert json.loads(done.stdout)["measured_by"] == "return"
    assert "deterministic" in done.stderr


def test_json_of_a_diagnosis_is_one_object_and_nothing_else(finished: Path) -> None:
    found = json.loads(command("doctor", finished, "--json").stdout)
    assert found["step"] == 400
    assert len(found["findings"]) == 11
    assert all(finding.keys() == {"name", "standing", "measured", "meaning", "numbers"} for finding in found["findings"])


def test_the_doctor_shows_every_finding_in_a_table(finished: Path) -> None:
    shown = command("doctor", finished).stdout
    for name in (
        "gain",
        "headroom",
        "outcomes",
        "reward",
        "goal",
        "action",
        "value",
        "preference",
        "size",
        "clipping",
        "controller",
    ):
        assert re.search(rf"│ {name} +│ (sound|warning|-) ", shown)
    assert "burn-in" in shown  # the 400 steps are the burn-in: what depends on the residual cannot be judged yet


def test_what_a_task_is_measured_by_comes_first() -> None:
    done = command("evaluate", "mbrl-pusher", "--episodes", "4")
    assert re.search(r"mean return.*95 % interval.*success rate", done.stdout)
    assert re.search(r"zero .*-\d+\.?\d* .*-\d+\.?\d* to -\d+\.?\d* .* 0\.000", done.stdout)
    assert re.search(r"success rate.*95 % interval.*mean return", command("evaluate", "push", "--episodes", "4").stdout)
    result = json.loads(command("evaluate", "mbrl-pusher", "--episodes", "4", "--json").stdout)
    assert result["measured_by"] == "return"
    assert result["base"]["return_interval"][0] < result["base"]["mean_return"] < result["base"]["return_interval"][1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "slipery-push"], "Did you mean 'slippery-push'?"),
        (["train", "push", "--controller", "pid"], "there is no controller called 'pid'"),
        (["train", "push", "--preset", "silver"], "silver2018"),
        (["train", "push", "--method", "sac"], "scratch"),
        (["evaluate", "runs/nowhere"], "there is no run directory, task or Gymnasium environment 'runs/nowhere'"),
        (["train", "push", "--set", "batch_size"], "--set needs PATH=VALUE"),
        (["train", "push", "--set", "seed=3"], "seed has an argument or option of its own"),
        (["train", "push", "--set", "algorithm.scale=3"], "there is no field called 'algorithm.scale'"),
        (["config", "pusch"], "Did you mean 'push'?"),
        (["config", "Pendulum-v1"], "Pendulum-v1 has no controller of its own"),
        (["benchmark", "memory"], "learning, physics"),
        (["report", "nowhere"], "nowhere"),
        (["doctor", "nowhere"], "there is no nowhere/config.json: it is no run directory"),
        (["watch", "pusch"], "Did you mean 'push'?"),
        (["watch", "push", "--out", "film.avi"], ".mp4 or .gif for a video, .png for a film strip"),
        (["watch", "push", "--out", "film"], ".mp4 or .gif for a video, .png for a film strip"),
        (["watch", "push", "--run", "nowhere"], "nowhere"),
        (["watch", "push", "--run", "nowhere", "--controller", "zero"], "give one of the two"),
        (["report", "nowhere.csv"], "cannot read nowhere.csv"),
        (["gather", "default", "nowhere", "--out", "here"], "there is no directory nowhere"),
        (["gather", "defualt", ".", "--out", "here"], "Did you mean 'default'?"),
        (["study", "slippery-pull"], "Did you mean 'slippery-push'?"),
        (["study", "slippery-push", "--only", "hook"], "slippery-push/default"),
    ],
)
def test_a_mistake_is_named_in_one_line_on_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["train", "push", "--steps", "0"], ["train", "push", "--seed", "-1"], ["fly"]])
def test_a_value_out_of_range_is_a_usage_error(arguments: list[str]) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_evaluations_are_left_to_the_episodes_length_as_in_python_unless_they_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def improve(*arguments: Any, **fields: Any) -> None:
        asked.append({name: value for name, value in fields.items() if name.startswith("evaluation")})
        raise ResidualRLError("enough")

    monkeypatch.setattr(api, "improve", improve)
    command("train", "hook")
    command("train", "hook", "--evaluation-episodes", "7")
    assert asked == [{}, {"evaluation_episodes": 7}]


def test_brackets_in_a_path_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show("run     runs/[/old]/[bold]x")
    assert "runs/[/old]/[bold]x" in capsys.readouterr().out


def test_training_a_finished_run_again_says_what_came_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, fields = PRESETS["default"]
    small = {name: value for name, value in TINY.items() if name not in ("steps", "evaluation_interval", "evaluation_episodes")}
    monkeypatch.setitem(PRESETS, "default", (summary, fields | small))
    arguments = ["train", "push", "--steps", "200", "--out", tmp_path / "run", "--evaluation-episodes", "4"]
    first = command(*arguments)
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "run" / "report.html").exists()
    assert "not promoted" in first.stdout
    assert "gain: Nothing was gained." in first.stdout
    assert "preference: the residual acts in 0.0% of the steps" in first.stdout  # one cycle is less than the burn-in
    second = command(*arguments)
    assert second.returncode == 0
    assert "is finished" in second.stderr
    assert first.stdout.splitlines()[-3:] == second.stdout.splitlines()[-3:]


def test_a_damaged_policy_is_refused_and_says_where(finished: Path, tmp_path: Path) -> None:
    for name in ("config.json", "verdict.json"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    whole = (finished / "policy.safetensors").read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-4] + b"\xff\xff\xff\x7f", b"", b"pickle"):
        (tmp_path / "policy.safetensors").write_bytes(damaged)
        done = command("evaluate", tmp_path, "--episodes", "4")
        assert done.returncode == 1
        assert "damaged" in done.stderr
        assert "Traceback" not in done.stderr
