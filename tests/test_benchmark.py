"""Benchmarks without peers, which are not installed: our own measurements, the rounds and the command."""

import json
import os
import subprocess
import sys
import warnings

import pytest

from residual_rl import benchmarks, presets
from residual_rl.benchmarks.conditions import conditions, quiet
from residual_rl.benchmarks.foreign import Subject
from residual_rl.benchmarks.learning import memory
from residual_rl.benchmarks.memory import peak_memory
from residual_rl.benchmarks.rounds import alternate, compared_speeds
from residual_rl.cli.main import app
from residual_rl.errors import ResidualRLError, UnknownName
from residual_rl.learning.ddpg import DDPG

INSTALL_PEERS = "pip install 'residual-rl[bench]'"
# `residual_rl.benchmarks.learning` is the function; this is the module that it comes from.
learning_module = sys.modules["residual_rl.benchmarks.learning"]


@pytest.fixture(scope="module", autouse=True)
def no_peers():
    with pytest.MonkeyPatch.context() as patch:
        for module in ("conditions", "physics", "learning"):
            patch.setattr(sys.modules[f"residual_rl.benchmarks.{module}"], "installed", lambda peer: False)
        yield


@pytest.fixture(scope="module")
def learned():
    """A short learning benchmark of a small learner, with the lines that it told."""
    # What this process holds must not show in the one whose memory is measured.
    ballast = bytearray(1_000_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert peak_memory() > 1e9
    told = []
    with pytest.MonkeyPatch.context() as patch:
        for name, (summary, fields) in presets.PRESETS.items():  # both the same, which compiles once
            patch.setitem(presets.PRESETS, name, (summary, fields | {"algorithm": DDPG(hidden=(8,))}))
        for name, value in {"NUM_ENVS": 2, "CYCLE_STEPS": 100, "CYCLE_UPDATES": 10}.items():
            patch.setattr(learning_module, name, value)
        return benchmarks.learning(steps=1, rounds=1, transitions=500, tell=told.append), told


def test_a_world_without_mujoco_is_driven_by_its_controller_and_timed_by_the_processor_too():
    result = benchmarks.physics("racing", threads=2, batches=(64,), rounds=1, round_seconds=0.05)
    (row,) = result["batches"]
    assert row["ours_steps_per_second"] > 0.0
    assert row["cpu_steps_per_second"] > 0.0
    assert "raw_steps_per_second" not in row
    assert "of processor time" in benchmarks.table(result)


def test_every_other_round_goes_backwards():
    order = []

    def contestant(name):
        return lambda: order.append(name) or float(len(order))

    speeds = alternate({"ours": contestant("ours"), "peer": contestant("peer")}, rounds=3)
    assert order == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert speeds == {"ours": [1.0, 4.0, 5.0], "peer": [2.0, 3.0, 6.0]}


def test_ratio_is_the_median_of_the_rounds_ratios_and_not_the_ratio_of_medians():
    # The machine is half as fast in the second round, for both.
    result = compared_speeds({"ours": [200.0, 100.0, 900.0], "peer": [100.0, 50.0, 300.0]})
    assert result["ours_steps_per_second"] == 200.0
    assert result["peer_steps_per_second"] == 100.0
    assert result["ratio"] == 2.0
    assert result["rounds"][2] == {"ours": 900.0, "peer": 300.0}
    assert compared_speeds({"ours": [400.0, 100.0, 90.0], "peer": [100.0, 100.0, 30.0]})["ratio"] == 3.0  # 100 / 100 is 1


def test_without_a_peer_there_is_no_ratio():
    result = compared_speeds({"ours": [100.0, 200.0, 300.0]})
    assert result["ours_steps_per_second"] == 200.0
    assert result["ratio"] is None
    assert "peer_steps_per_second" not in result


def test_physics_reports_our_own_speed_without_the_peer():
    told = []
    result = benchmarks.physics(batches=(2, 3), rounds=1, round_seconds=0.02, threads=1, tell=told.append)
    assert result["ours_steps_per_second"] > 0
    assert result["raw_steps_per_second"] > 0
    assert [row["batch"] for row in result["batches"]] == [2, 3]
    assert all(len(row["rounds"]) == 1 for row in result["batches"])
    assert result["peer"] is None
    assert result["ratio"] is None
    assert result["missing"] == INSTALL_PEERS
    assert len(told) == 2
    assert json.loads(json.dumps(result)) == result
    assert INSTALL_PEERS in benchmarks.table(result)


@pytest.mark.parametrize("task", ["push", "noisy-hook", "complex-hook"])
def test_a_world_takes_about_as_long_as_mujoco_alone(task):
    result = benchmarks.physics(task=task, batches=(2,), rounds=2, round_seconds=0.05, threads=1)
    # 0.9 measured. A busy machine moves it, to 0.36 at worst so far; substeps counted wrongly would move it by 20.
    assert 0.1 < result["ratio_to_raw"] < 10


def test_learning_reports_our_own_speed_without_the_peer(learned):
    result, told = learned
    assert result["ours_steps_per_second"] > 0
    assert result["default_preset_steps_per_second"] > 0
    assert len(result["rounds"]) == 1
    assert result["compile_seconds"] > 0
    assert result["updates_per_step"] == 0.1
    assert result["peer"] is None
    assert result["ratio"] is None
    assert result["missing"] == INSTALL_PEERS
    assert told[0] == "learning: compiling"
    assert json.loads(json.dumps(result)) == result


def test_foreign_environments_are_timed_alone_and_collected():
    result = benchmarks.foreign((Subject("Pendulum-v1", 5, envs=3),), rounds=1)
    (row,) = result["rows"]
    assert min(row[f"{what}_microseconds"] for what in ("alone", "collected", "residual")) > 0
    assert json.loads(json.dumps(result)) == result
    name, *numbers = benchmarks.table(result).splitlines()[2].split()
    assert (name, numbers[0], len(numbers)) == ("Pendulum-v1", "3", 5)


def test_a_table_has_the_measured_numbers(learned):
    result = learned[0] | {"ours_steps_per_second": 901.0, "default_preset_steps_per_second": 302.0}
    silver2018, default, peer = benchmarks.table(result).splitlines()[2:5]
    assert silver2018.split() == ["ours,", "silver2018", "901", "-"]
    assert default.split() == ["ours,", "default", "302"]
    assert peer.split() == ["peer", "-"]
    assert "A run with 500 transitions" in benchmarks.table(result)


def test_memory_is_that_of_the_process_that_was_measured(learned):
    result, _ = learned
    assert 0.1 < result["peak_memory_gb"] < 0.9
    assert result["transitions"] == 500
    assert result["checkpoint_gb"] > 0


@pytest.mark.parametrize("preset", ["silver2018", "default"])
def test_a_training_has_one_cycle_before_and_one_after(monkeypatch, preset):
    def train(experiment, on_progress, num_threads):
        configured, task = experiment.config, experiment.task
        algorithm, cycle = configured.algorithm, configured.episodes_per_cycle * task.spec.horizon
        assert configured.preset == preset
        assert configured.batch_size == 256
        assert algorithm.hidden == presets.PRESETS[preset][1]["algorithm"].hidden
        updates = configured.updates_per_cycle if algorithm.burn_in.is_over([]) else algorithm.burn_in.updates
        assert updates / cycle == 0.1
        for step in range(cycle, configured.steps + 1, cycle):
            on_progress(step)

    monkeypatch.setattr("residual_rl.training.train.train", train)
    times = learning_module._training(preset, steps=1000)
    assert len(times) == 4  # 1000 steps are two cycles of 800
    assert times == sorted(times)


def test_training_speed_leaves_out_the_first_and_the_last_cycle(monkeypatch):
    monkeypatch.setattr(learning_module, "_training", lambda preset, steps, updates, overlap: [7.0, 8.0, 9.0, 99.0])  # s
    assert learning_module._training_speed("silver2018", steps=1600) == 800.0  # 2 cycles of 16 x 50 steps in 2 s


def test_updates_are_timed_by_what_a_cycle_takes_longer_with_them(monkeypatch):
    """A cycle of 800 steps takes 1 s with one update and 2.58 s with 80 of them: 50 a second, half of 100."""
    speeds = {1: 800.0, 80: 800 / 2.58}
    monkeypatch.setattr(learning_module, "_training", lambda preset, steps, updates: [])
    monkeypatch.setattr(learning_module, "_training_speed", lambda preset, steps, updates, overlap: speeds[updates])
    monkeypatch.setattr("residual_rl.benchmarks.updates.bare_scan", lambda *about: lambda: 100.0)
    measured = learning_module._updates(steps=800, rounds=1)
    assert measured["updates_ratio_to_bare"] == 0.5
    assert measured["updates_per_second"] == 50.0


def test_a_failed_memory_measurement_gives_the_reason(monkeypatch):
    failed = subprocess.CompletedProcess([], returncode=1, stdout="", stderr="out of memory\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(ResidualRLError, match="out of memory"):
        memory(transitions=500)


@pytest.mark.parametrize("load", [0.0, 64.0])
def test_a_busy_machine_is_mentioned(load, learned):
    result = learned[0] | {"load_average": load, "machine": {"cores": 2}}
    assert ("free machine" in benchmarks.table(result)) == (load > 1)


def test_conditions_name_what_is_missing():
    measured_under = conditions(("envpool",))
    assert measured_under["missing"] == INSTALL_PEERS
    assert "envpool" not in measured_under["versions"]
    assert measured_under["machine"]["cores"] >= 1


def test_what_peers_print_stays_off_stdout(capfd):
    before = os.environ.get("PYTHONWARNINGS")
    with quiet():
        print("chatter")
        os.write(1, b"chatter")
        warnings.warn("chatter", stacklevel=1)
        subprocess.run(["echo", "chatter"], check=True)
    print("result")
    assert capfd.readouterr().out == "result\n"
    assert os.environ.get("PYTHONWARNINGS") == before


def test_command_prints_json_alone_on_stdout(monkeypatch, capsys):
    asked = {}

    def physics(task, threads, tell):
        asked.update(task=task, threads=threads)
        tell("physics: 8 envs")
        return {"benchmark": "physics"}

    monkeypatch.setattr(benchmarks, "physics", physics)
    app(["benchmark", "physics", "--json", "--threads", "2"], standalone_mode=False)
    said = capsys.readouterr()
    assert json.loads(said.out) == {"benchmark": "physics"}
    assert said.err == "physics: 8 envs\n"
    assert asked == {"task": "slippery-push", "threads": 2}


def test_command_lists_the_benchmarks_there_are():
    with pytest.raises(UnknownName, match="There are: foreign, learning, physics"):
        app(["benchmark", "phisics"], standalone_mode=False)
