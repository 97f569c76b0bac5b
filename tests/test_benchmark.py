import json
import os
import subprocess
import sys

import pytest

from residual_rl import benchmark
from residual_rl.errors import ResidualRLError


@pytest.fixture
def no_peers(monkeypatch):
    monkeypatch.setattr(benchmark, "installed", lambda package: False)


@pytest.fixture(scope="module")
def memory_of_few():
    # What this process holds must not show in the one that is measured.
    ballast = bytearray(2_000_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert benchmark.peak_memory() > 2e9
    return benchmark.memory(2_000)


def fixed(speeds):
    """A contestant that is as fast as told, round after round."""
    remaining = iter(speeds)
    return lambda: next(remaining)


def test_every_other_round_goes_backwards():
    order = []

    def contestant(name):
        return lambda: order.append(name) or 1.0

    benchmark.alternate({"ours": contestant("ours"), "peer": contestant("peer")}, rounds=3)
    assert order == ["ours", "peer", "peer", "ours", "ours", "peer"]


def test_ratio_is_the_median_of_the_rounds_ratios_and_not_the_ratio_of_medians():
    # The machine is half as fast in the second round, for both.
    speeds = benchmark.alternate({"ours": fixed([200.0, 100.0, 900.0]), "peer": fixed([100.0, 50.0, 300.0])}, rounds=3)
    result = benchmark.compared(speeds)
    assert result["ours_steps_per_second"] == 200.0
    assert result["peer_steps_per_second"] == 100.0
    assert result["ratio"] == 2.0
    assert result["rounds"][2] == {"ours": 900.0, "peer": 300.0}
    assert benchmark.compared({"ours": [400.0, 100.0, 90.0], "peer": [100.0, 100.0, 30.0]})["ratio"] == 3.0  # 100 / 100 is 1


def test_without_a_peer_there_is_no_ratio():
    result = benchmark.compared({"ours": [100.0, 200.0, 300.0]})
    assert result["ours_steps_per_second"] == 200.0
    assert result["ratio"] is None
    assert "peer_steps_per_second" not in result


def test_physics_reports_our_own_speed_without_the_peer(no_peers):
    told = []
    result = benchmark.physics(batches=(2, 3), rounds=2, round_seconds=0.02, threads=1, tell=told.append)
    assert result["ours_steps_per_second"] > 0
    assert result["unfiltered_steps_per_second"] > 0
    assert [row["batch"] for row in result["batches"]] == [2, 3]
    assert all(len(row["rounds"]) == 2 for row in result["batches"])
    assert result["peer"] is None
    assert result["ratio"] is None
    assert result["missing"] == "pip install 'residual-rl[bench]'"
    assert len(told) == 2
    assert json.loads(json.dumps(result)) == result
    assert "pip install 'residual-rl[bench]'" in benchmark.format_physics(result)


def test_unfiltered_envs_step_the_model_as_published():
    envs = benchmark._with_all_contacts(benchmark.find_task("slippery-push"), batch=2, threads=1)
    on_robot = [
        geom
        for geom in range(envs.world.physics.model.ngeom)
        if envs.world.physics.model.body(envs.world.physics.model.geom_bodyid[geom]).name.startswith("robot0:")
    ]
    assert (envs.world.physics.model.geom_contype[on_robot] <= 1).all()
    envs.close()


def test_learning_reports_our_own_speed_without_the_peer(no_peers, memory_of_few, monkeypatch):
    monkeypatch.setattr(benchmark, "memory", lambda transitions: memory_of_few)
    speeds = {"silver2018": 900.0, "default": 300.0}
    monkeypatch.setattr(benchmark, "training_speed", lambda preset, steps, num_envs: speeds[preset])
    monkeypatch.setattr(benchmark, "compiling_seconds", lambda preset, num_envs: 1.5)
    result = benchmark.learning(rounds=2)
    assert result["ours_steps_per_second"] == 900.0
    assert result["default_preset_steps_per_second"] == 300.0
    assert result["peer"] is None
    assert result["ratio"] is None
    assert result["peak_memory_gb"] > 0
    assert json.loads(json.dumps(result)) == result
    table = benchmark.format_learning(result)
    assert "900" in table
    assert "pip install 'residual-rl[bench]'" in table


def test_a_training_is_timed_cycle_by_cycle():
    times = benchmark._training("silver2018", steps=150, num_envs=2)
    assert len(times) == 4  # 150 steps are two cycles of 100; one before, one after
    assert times == sorted(times)


def test_training_speed_leaves_out_the_first_and_the_last_cycle(monkeypatch):
    monkeypatch.setattr(benchmark, "_training", lambda preset, steps, num_envs: [7.0, 8.0, 9.0, 99.0])  # s
    assert benchmark.training_speed("silver2018", steps=800, num_envs=8) == 400.0  # 2 cycles of 8 x 50 steps in 2 s


def test_memory_is_that_of_the_process_that_was_measured(memory_of_few):
    assert 0.1 < memory_of_few["peak_memory_gb"] < 1.8
    assert memory_of_few["transitions"] == 2_000
    assert memory_of_few["checkpoint_gb"] > 0


def test_failed_memory_measurement_says_why():
    with pytest.raises(ResidualRLError, match="-1"):
        benchmark.memory(-1)


@pytest.mark.parametrize("load", [0.0, 64.0])
def test_a_busy_machine_is_mentioned(load, no_peers):
    result = {"peer": "EnvPool", "load_average": load, "machine": {"cores": 2}}
    assert ("free machine" in "\n".join(benchmark._notes(result))) == (load > 1)


def test_what_peers_print_stays_off_stdout():
    program = (
        "import os, subprocess, sys, warnings\n"
        "from residual_rl import benchmark\n"
        "with benchmark._quiet():\n"
        "    print('chatter')\n"
        "    os.write(1, b'chatter')\n"
        "    warnings.warn('chatter')\n"
        "    subprocess.run([sys.executable, '-c', 'print(\"chatter\")'])\n"
        "print('result')\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "result\n"


def test_quiet_leaves_the_environment_as_it_was():
    before = os.environ.get("PYTHONWARNINGS")
    with benchmark._quiet():
        pass
    assert os.environ.get("PYTHONWARNINGS") == before
