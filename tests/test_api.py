"""Improving, evaluating and loading, as a user calls them; and what a real kill leaves behind."""

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from bundles import ROUNDING
from tiny import TINY

import residual_rl
from residual_rl.controllers import ReactivePush
from residual_rl.controllers.resolve import resolve
from residual_rl.errors import ControllerError, Interrupted, ResidualRLError, RunError, UnknownName, WorldError
from residual_rl.presets import make_config
from residual_rl.residual import Composition
from residual_rl.runs.reading import read_config, read_rows, read_verdict
from residual_rl.runs.run import Run
from residual_rl.storage import read_arrays
from residual_rl.training.experiment import Experiment, Request
from residual_rl.training.train import Progress
from residual_rl.types import Observation
from residual_rl.verdict import Comparison, Verdict


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    residual_rl.improve("slippery-push", out=out, **TINY)
    return out


def policy_arrays(path: Path) -> dict[str, np.ndarray]:
    return read_arrays(path / "policy.safetensors")[0]


def metrics(path: Path) -> list[dict[str, float]]:
    rows = read_rows(path / "metrics.csv") + read_rows(path / "evaluations.csv")
    return [{name: value for name, value in row.items() if name != "wall_seconds"} for row in rows]


def assert_same_numbers(one: Path, other: Path) -> None:
    np.testing.assert_equal(metrics(one), metrics(other))  # a number that is missing in both is the same, too
    first, second = policy_arrays(one), policy_arrays(other)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_run_ends_in_a_verdict_on_fresh_states(finished: Path) -> None:
    verdict = read_verdict(finished)
    assert verdict.episodes == 10
    again = residual_rl.reevaluate(Run(finished, read_config(finished)), episodes=10)
    assert isinstance(again, Comparison)
    assert Verdict.on(again) == verdict
    assert "delivered" not in str(again)  # only the verdict decides that


def test_the_first_evaluation_is_the_base_exactly(finished: Path) -> None:
    first = read_rows(finished / "evaluations.csv")[0]
    assert first["step"] == 0
    assert first["success_rate"] == first["base_success_rate"]
    assert first["deviation"] == 0.0


def test_the_budget_is_spent_and_every_cycle_is_a_row(finished: Path) -> None:
    steps = [row["step"] for row in read_rows(finished / "metrics.csv")]
    assert steps == [200.0 * cycle for cycle in range(1, 7)]


def test_the_score_of_every_episode_is_that_of_the_arm_that_drove_it(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == 1200:
            os.kill(os.getpid(), signal.SIGINT)

    undisturbed = TINY | {"algorithm": replace(TINY["algorithm"], exploring_ratio=0.0)}  # episodes that explore have no score
    with pytest.raises(Interrupted):
        residual_rl.improve("slippery-push", out=tmp_path, on_progress=stop, **undisturbed)
    rows, checkpoint = read_rows(tmp_path / "metrics.csv"), Run(tmp_path, read_config(tmp_path)).load_checkpoint()
    assert checkpoint is not None
    by_arm = checkpoint[1]["scores"]
    burn_in = sum(bool(row["burn_in"]) for row in rows)
    driven = round(sum(4 * row["driven_by_residual"] for row in rows))
    assert (burn_in, len(rows), len(by_arm)) == (2, 6, 3)
    assert all(row["driven_by_residual"] == 0.0 for row in rows[:burn_in])
    assert len(by_arm[0]) == 4 * len(rows) - driven
    assert len(by_arm[1]) + len(by_arm[2]) == driven
    assert sum(map(sum, by_arm)) == pytest.approx(sum(4 * row["acting_success_rate"] for row in rows))


def test_same_seed_same_numbers_and_another_seed_others(finished: Path, tmp_path: Path) -> None:
    residual_rl.improve("residual_rl/SlipperyPush-v0", out=tmp_path / "again", **TINY)
    assert_same_numbers(finished, tmp_path / "again")
    residual_rl.improve("slippery-push", out=tmp_path / "other", seed=1, **TINY)
    assert metrics(finished) != metrics(tmp_path / "other")


def test_a_finished_run_is_not_trained_again(finished: Path) -> None:
    before = (finished / "metrics.csv").stat().st_mtime_ns
    run = residual_rl.improve("slippery-push", out=finished, **TINY)
    assert run.finished
    assert (finished / "metrics.csv").stat().st_mtime_ns == before


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import residual_rl
from tiny import TINY
residual_rl.improve("slippery-push", out={out!r}, checkpoint_seconds=0.0, **TINY)
"""


def test_a_killed_run_goes_on_with_the_same_numbers(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    script = KILLED.format(tests=str(Path(__file__).parent), out=str(out))
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 240
        while not (out / "checkpoint.safetensors").exists() or len(read_rows(out / "metrics.csv")) < 3:
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    assert process.returncode != 0
    assert not (out / "verdict.json").exists()
    residual_rl.improve("slippery-push", out=out, **TINY)
    assert_same_numbers(finished, out)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_raised_only_after_a_checkpoint(finished: Path, tmp_path: Path, how: signal.Signals) -> None:
    def stop_once(progress: Progress) -> None:
        if progress.step == 400:
            os.kill(os.getpid(), how)

    with pytest.raises(Interrupted, match="step 400"):
        residual_rl.improve("slippery-push", out=tmp_path, on_progress=stop_once, **TINY)
    assert (tmp_path / "checkpoint.safetensors").exists()
    so_far = residual_rl.diagnose(tmp_path)
    assert so_far.step == 400
    assert len(so_far.findings) == 11
    residual_rl.improve("slippery-push", out=tmp_path, **TINY)
    assert_same_numbers(finished, tmp_path)


def test_a_promoted_policy_acts_and_an_unpromoted_one_is_the_base(finished: Path, tmp_path: Path) -> None:
    task = residual_rl.TASKS["slippery-push"]
    controller = ReactivePush()
    envs = task.make_envs(5)
    observation, _ = envs.reset(seed=3)
    base = controller(observation).clip(-1, 1)
    for promoted in (True, False):
        for name in ("config.json", "policy.safetensors", "verdict.json"):
            text = (finished / name).read_bytes()
            if name == "verdict.json":
                text = text.replace(b'"promoted": true', b'"promoted": X').replace(b'"promoted": false', b'"promoted": X')
                text = text.replace(b"X", b"true" if promoted else b"false")
            (tmp_path / name).write_bytes(text)
        policy = residual_rl.load(tmp_path)
        assert policy.promoted == promoted
        action = policy(observation)
        assert action.shape == (5, 4)
        first = Observation(**{name: value[0] for name, value in observation.items()})  # type: ignore[typeddict-item]
        np.testing.assert_allclose(policy(first), action[0], atol=ROUNDING)  # a batch of one adds in another order
        if not promoted:
            np.testing.assert_array_equal(action, base)
            assert policy.scale == 0.0
            with pytest.raises(ResidualRLError, match="the base acts alone"):
                policy.scale = 1.0
    envs.close()


def test_a_controller_of_ones_own_is_improved_and_asked_for_again_at_load(tmp_path: Path) -> None:
    def half_push(observation: Observation) -> np.ndarray:
        return 0.5 * ReactivePush()(observation)

    residual_rl.improve("slippery-push", half_push, out=tmp_path, **TINY)
    with pytest.raises(ControllerError, match="half_push"):
        residual_rl.load(tmp_path)
    assert residual_rl.load(tmp_path, half_push)


def test_a_planner_is_shown_the_state_and_hindsight_keeps_what_it_proposed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def planner(observation: Observation) -> np.ndarray:
        asked.append(len(observation["state"]))
        return ReactivePush()(observation)

    planner.reads_state = True  # type: ignore[attr-defined]
    run = residual_rl.improve("slippery-push", planner, out=tmp_path, **TINY | {"steps": 400})
    # Base and policy on 5 episodes, 2 cycles of 4, the policy again, the base from the last starts; the verdict on 10 pairs.
    # While the policy is the base, the second evaluation need not be rolled out.
    assert asked == [5] * 100 + [4] * 51 * 2 + [4] * 51 + [10] * 100
    kept, all_burn_in = capsys.readouterr().out.splitlines()[:2]
    assert kept == ("planner cannot be re-queried at relabelled goals; HER reuses the base actions recorded during the rollout")
    assert all_burn_in == (
        "burn-in (residual held at zero) can use 400 of the 400 steps, so the result may be the base itself; increase steps"
    )
    residual_rl.reevaluate(run.path, planner, episodes=5)


@pytest.mark.parametrize(
    ("says", "relabel", "kept"),
    [
        ({"can_be_requeried": False}, "ask", True),
        ({"reads_state": True}, "ask", True),
        ({"can_be_requeried": False}, "keep", False),  # the method keeps them anyway
        ({"can_be_requeried": False, "reads_goal": False}, "ask", False),  # they would be the same
        ({}, "ask", False),
    ],
)
def test_base_actions_are_kept_against_the_configuration_only_where_they_cannot_be_asked_again(
    tmp_path: Path, says: dict[str, bool], relabel: Any, kept: bool
) -> None:
    def home(observation: Observation) -> np.ndarray:
        return np.zeros((len(observation["observation"]), 4))

    vars(home).update(says)
    algorithm = replace(TINY["algorithm"], composition=Composition(relabel=relabel))
    config = make_config(task="push", controller="home", **TINY | {"algorithm": algorithm})
    task = residual_rl.TASKS["push"]
    assert Experiment(config, task, resolve(home, task.spec), Run(tmp_path, config)).keeps_base_actions == kept


@pytest.mark.parametrize(
    ("task", "directory"),
    [
        ("slippery-push", "runs/slippery-push/rpl/seed-3"),
        ("Aim/Far-v0", "runs/Aim/Far-v0/rpl/seed-3"),
        ("complex-hook:/home/me/my meshes/", "runs/complex-hook-home-me-my-meshes/rpl/seed-3"),
    ],
)
def test_a_run_has_a_directory_of_its_own_by_default(task: str, directory: str) -> None:
    request = Request(None, {"method": "rpl", "preset": "default", "seed": 3}, None, print, None)
    assert request.path(task) == Path(directory)


def test_scratch_is_the_same_code_over_zero(tmp_path: Path) -> None:
    run = residual_rl.improve("push", out=tmp_path, method="scratch", **TINY)
    assert run.config.controller == "zero"
    assert run.verdict().base.deviation == 0.0


def test_silver2018_runs_as_well(tmp_path: Path) -> None:
    fields = {name: value for name, value in TINY.items() if name != "algorithm"} | {"steps": 400}
    run = residual_rl.improve("slippery-push", out=tmp_path, preset="silver2018", **fields)
    assert len(read_rows(run.path / "metrics.csv")) == 2


def test_a_controller_alone_is_evaluated() -> None:
    result = residual_rl.evaluate("push", "reactive-push", episodes=30)
    assert result.base.success_rate > 0.9
    assert residual_rl.evaluate("push", episodes=30) == result


class TestBadInput:
    def test_unknown_names_list_what_exists(self) -> None:
        with pytest.raises(UnknownName, match="slippery-push"):
            residual_rl.improve("slipery-push")
        with pytest.raises(UnknownName, match="reactive-push"):
            residual_rl.improve("push", "reactive")
        with pytest.raises(UnknownName, match="silver2018"):
            residual_rl.improve("push", preset="silver")
        with pytest.raises(UnknownName, match="scratch"):
            residual_rl.improve("push", method="sac")

    def test_values_out_of_range_are_named(self) -> None:
        with pytest.raises(ResidualRLError, match=r"steps.*-5"):
            residual_rl.improve("push", steps=-5)
        with pytest.raises(ResidualRLError, match="episodes"):
            residual_rl.evaluate("push", episodes=0)
        with pytest.raises(ResidualRLError, match="episodes must be at most 1,000,000, not 2,000,000"):
            residual_rl.compare("push", None, None, episodes=2_000_000)
        with pytest.raises(ResidualRLError, match=r"horizon must be a whole number of at least 1, not 2\.5"):
            residual_rl.improve("Pendulum-v1", "zero", horizon=2.5)  # type: ignore[arg-type]
        with pytest.raises(ResidualRLError, match="num_threads must be"):
            residual_rl.improve("push", num_threads=0)
        with pytest.raises(ResidualRLError, match="checkpoint_seconds must be at least 0, not nan"):
            residual_rl.improve("push", checkpoint_seconds=float("nan"))

    def test_a_controller_that_is_no_callable_is_refused(self) -> None:
        with pytest.raises(ControllerError, match="int"):
            residual_rl.improve("push", 3)  # type: ignore[arg-type]

    def test_a_controller_that_always_fails_stops_the_run(self, tmp_path: Path) -> None:
        def no_number(observation: Observation) -> np.ndarray:
            return ReactivePush()(observation) * [1.0, 1.0, np.nan, 1.0]

        with pytest.raises(ControllerError, match=r"no_number.*nan in entry 2.*step 0"):
            residual_rl.improve("push", no_number, out=tmp_path, **TINY)
        assert not (tmp_path / "evaluations.csv").exists()

    def test_a_controller_that_takes_small_batches_only_is_asked_in_parts(self, finished: Path, tmp_path: Path) -> None:
        def small_batches_only(observation: Observation) -> np.ndarray:
            if len(observation["observation"]) > 64:  # more than the lanes of any rollout: hindsight is asking
                raise MemoryError("too many rows")
            return ReactivePush()(observation)

        residual_rl.improve("slippery-push", small_batches_only, out=tmp_path, **TINY)
        assert_same_numbers(finished, tmp_path)

    def test_an_evaluation_that_failed_is_done_again(self, finished: Path, tmp_path: Path) -> None:
        fails, evaluated = True, False

        def moody(observation: Observation) -> np.ndarray:
            nonlocal evaluated
            evaluated |= len(observation["observation"]) == 5
            if fails and evaluated:
                raise RuntimeError("not now")
            return ReactivePush()(observation)

        with pytest.raises(ControllerError, match=r"moody.*not now.*step 0"):
            residual_rl.improve("slippery-push", moody, out=tmp_path, **TINY)
        fails = False
        residual_rl.improve("slippery-push", moody, out=tmp_path, **TINY)
        assert_same_numbers(finished, tmp_path)

    def test_a_residual_is_not_put_over_another_controller(self, finished: Path) -> None:
        with pytest.raises(ControllerError, match=r"improves the controller 'reactive-push', not 'zero'"):
            residual_rl.load(finished, "zero")
        with pytest.raises(ControllerError, match="not 'zero'"):
            residual_rl.reevaluate(finished, "zero", episodes=4)

    def test_scratch_takes_no_controller(self) -> None:
        with pytest.raises(ResidualRLError, match="scratch"):
            residual_rl.improve("push", "reactive-push", method="scratch")

    def test_another_configuration_is_refused_with_the_difference(self, finished: Path) -> None:
        with pytest.raises(RunError, match="steps: 1200 -> 4000"):
            residual_rl.improve("slippery-push", out=finished, **(TINY | {"steps": 4000}))

    def test_a_directory_that_is_no_run_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(RunError, match=r"thesis\.tex"):
            residual_rl.improve("slippery-push", out=tmp_path, **TINY)
        assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name != ".lock") == ["thesis.tex"]

    def test_an_unfinished_run_is_not_loaded(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="it is no run directory"):
            residual_rl.load(tmp_path)
        with Run(tmp_path, make_config(task="push", controller="zero")):
            pass
        with pytest.raises(RunError, match="no verdict"):
            residual_rl.load(tmp_path)

    def test_a_world_that_keeps_failing_stops_the_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # The faulty world is not ours: a stand-in for physics that diverges.
        from residual_rl.tasks import block, fetch

        calls = 0
        sound = block.BlockWorld.step

        def diverging(self: block.BlockWorld, state: fetch.State, action: np.ndarray) -> fetch.State:
            nonlocal calls
            calls += 1
            if calls > 250:
                raise FloatingPointError("the simulation is unstable")
            return sound(self, state, action)

        monkeypatch.setattr(block.BlockWorld, "step", diverging)
        fields = TINY | {"evaluation_episodes": 1, "evaluation_interval": 10_000, "steps": 8000}
        with pytest.raises(WorldError, match=r"40 episodes in a row.*unstable"):
            residual_rl.improve("push", out=tmp_path, **fields)
        with (tmp_path / "metrics.csv").open() as file:
            dropped = [int(row["dropped_episodes"]) for row in csv.DictReader(file)]
        assert dropped[0] == 0
        assert dropped[-1] == 4


def test_both_of_gymnasiums_doors_are_open() -> None:
    env = gymnasium.make("residual_rl/SlipperyPush-v0")
    assert env.spec is not None
    assert env.spec.max_episode_steps == 50
    envs = gymnasium.make_vec("residual_rl/SlipperyPush-v0", num_envs=3)
    assert envs.num_envs == 3
    env.close()
    envs.close()
