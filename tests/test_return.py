"""Tasks that are measured by their return, from improving to the report: a world in which nothing ever succeeds."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from probes import SMALL, TRACK, Track, used_learner

import residual_rl
from residual_rl.errors import Interrupted
from residual_rl.judging.runs import compare_run
from residual_rl.learning.actors import Actor
from residual_rl.learning.burn_in import FixedBurnIn
from residual_rl.learning.serialization import to_arrays
from residual_rl.presets import make_config
from residual_rl.reports.report import write_report
from residual_rl.runs.reading import read_config, read_policy, read_rows
from residual_rl.runs.run import Run
from residual_rl.tasks import TASKS
from residual_rl.training.train import Progress

BUDGET: dict[str, Any] = {
    "steps": 3200,
    "seed": 1,
    "batch_size": 64,
    "updates_per_cycle": 30,
    "episodes_per_cycle": 16,
    "evaluation_interval": 640,
    "evaluation_episodes": 64,
    "verdict_episodes": 128,
}
CAREFUL = replace(
    SMALL["gated-ddpg"], burn_in=FixedBurnIn(cycles=3, updates=30), average_rate=0.05, pessimism=0.0, exploring_ratio=0.5
)
"""Cautious targets take their time, which a test has not."""
CARELESS = replace(SMALL["ddpg"], burn_in=FixedBurnIn(cycles=0))
"""Acts from the first update on, everywhere: over the best base it can only do harm."""
LEARNERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "improved": (Track.drawn_to(0.4), {"algorithm": CAREFUL}),
    "spoiled": (Track.drawn_to(0.0), {"algorithm": CARELESS, "preset": "silver2018"}),
}


@pytest.fixture(scope="module", autouse=True)
def _track():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "track", TRACK)
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base that is off by a known amount, improved; and the best there is, over which learning does harm."""
    out = tmp_path_factory.mktemp("runs")
    for name, (controller, fields) in LEARNERS.items():
        residual_rl.improve("track", controller, out=out / name, **fields, **BUDGET)
    return {name: out / name for name in LEARNERS}


def evaluations(path: Path) -> list[dict[str, float]]:
    return read_rows(path / "evaluations.csv")


def test_a_run_is_measured_as_its_task_is_unless_it_is_told_otherwise(runs: dict[str, Path], tmp_path: Path) -> None:
    assert read_config(runs["improved"]).measured_by == "return"
    fields = BUDGET | {"steps": 128, "algorithm": CAREFUL, "measured_by": "success"}
    run = residual_rl.improve("track", "zero", out=tmp_path, **fields)
    assert (run.config.measured_by, run.verdict().measured_by) == ("success", "success")


def test_a_base_that_is_off_is_improved_and_promoted_though_nothing_ever_succeeds(runs: dict[str, Path]) -> None:
    """At 0.4 to the end, the base earns about -0.4 a step; straight to 0 there is about -0.17 in an episode."""
    verdict = Run(runs["improved"], read_config(runs["improved"])).verdict()
    assert verdict.measured_by == "return"
    assert verdict.base.success_rate == verdict.policy.success_rate == 0.0
    assert verdict.base.mean_return == pytest.approx(-3.1, abs=0.1)
    assert verdict.policy.mean_return > -1.0
    assert verdict.difference == pytest.approx(verdict.policy.mean_return - verdict.base.mean_return)
    assert verdict.difference_interval[0] > 2.0
    assert verdict.promoted
    assert residual_rl.load(runs["improved"], LEARNERS["improved"][0]).promoted


def test_the_checkpoint_with_the_highest_mean_return_is_selected(runs: dict[str, Path]) -> None:
    for path in runs.values():
        rows = evaluations(path)
        returns = [row["mean_return"] for row in rows]
        assert len(set(returns)) > 2  # there is something to choose from
        assert read_policy(path)[2] == rows[int(np.argmax(returns))]["step"]


def test_learning_that_only_does_harm_delivers_the_base(runs: dict[str, Path]) -> None:
    rows = evaluations(runs["spoiled"])
    assert all(row["mean_return"] < rows[0]["mean_return"] for row in rows[1:])
    assert read_policy(runs["spoiled"])[2] == 0
    verdict = Run(runs["spoiled"], read_config(runs["spoiled"])).verdict()
    assert (verdict.difference, verdict.difference_interval, verdict.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert not residual_rl.load(runs["spoiled"], LEARNERS["spoiled"][0]).promoted


def test_while_no_arm_has_shown_that_it_is_better_the_policy_is_the_base(tmp_path: Path) -> None:
    """Over the best base every residual does harm, and one whose gate never opens does nothing."""
    algorithm = replace(CAREFUL, actors=(Actor(rate=1e-2, cautions=(None, 1e6)),), burn_in=FixedBurnIn(cycles=0))
    residual_rl.improve("track", LEARNERS["spoiled"][0], algorithm=algorithm, out=tmp_path, **BUDGET)
    rows = evaluations(tmp_path)
    assert [row["mean_return"] for row in rows] == [rows[0]["mean_return"]] * len(rows)
    assert all(row["deviation"] == 0.0 for row in rows)
    assert read_policy(tmp_path)[2] == 0


def test_what_is_delivered_has_the_caution_whose_training_episodes_were_worth_more(tmp_path: Path) -> None:
    """Over a base that is off, a gate that never opens does nothing: it comes first, and the other is found."""
    algorithm = replace(CAREFUL, actors=(Actor(cautions=(1e6, 0.5)),))
    residual_rl.improve("track", LEARNERS["improved"][0], algorithm=algorithm, out=tmp_path, **BUDGET)
    _, acting, step = read_policy(tmp_path)
    assert step > 0
    assert acting == replace(read_config(tmp_path), algorithm=replace(algorithm, actors=(Actor(cautions=(0.5,)),)))


def test_a_policy_that_is_worse_is_found_to_be_worse(tmp_path: Path) -> None:
    config = make_config("silver2018", task="track", controller="drawn", algorithm=CARELESS, measured_by="return")
    with Run(tmp_path, config) as run:
        run.save_policy(to_arrays(used_learner(CARELESS, Track.spec).current, "networks"), CARELESS, 0)
    found = compare_run(tmp_path, TRACK, LEARNERS["spoiled"][0], 128, None)
    assert found.difference_interval[1] < 0.0
    assert found.p_value < 0.05
    assert found.conclusion == "worse"


def test_evaluations_have_the_interval_of_the_mean_return_and_the_bases(runs: dict[str, Path]) -> None:
    for row in evaluations(runs["improved"]):
        assert row["return_low"] < row["mean_return"] < row["return_high"]
        assert row["base_return_low"] < row["base_mean_return"] < row["base_return_high"]
    first = evaluations(runs["improved"])[0]
    assert first["mean_return"] == first["base_mean_return"]
    assert first["return_low"] == first["base_return_low"]


def test_metrics_have_the_return_while_learning(runs: dict[str, Path]) -> None:
    rows = read_rows(runs["improved"] / "metrics.csv")
    assert -4.0 < rows[0]["acting_mean_return"] < -2.0  # the base, disturbed
    assert rows[-1]["acting_mean_return"] > -1.5


def test_a_resumed_run_remembers_the_best_return(runs: dict[str, Path], tmp_path: Path) -> None:
    seen: list[Progress] = []

    def stop_once(progress: Progress) -> None:
        seen.append(progress)
        if progress.step == 1280:
            os.kill(os.getpid(), signal.SIGINT)

    controller, fields = LEARNERS["spoiled"]
    with pytest.raises(Interrupted):
        residual_rl.improve("track", controller, out=tmp_path, on_progress=stop_once, **fields, **BUDGET)
    before = len(seen)
    residual_rl.improve("track", controller, out=tmp_path, on_progress=seen.append, **fields, **BUDGET)
    assert seen[before][:5] == seen[before - 1][:5]
    assert read_policy(tmp_path)[2] == 0  # the checkpoints after the stop are better than those before, but not than the first
    without_time = [[{**row, "wall_seconds": 0.0} for row in evaluations(path)] for path in (tmp_path, runs["spoiled"])]
    assert without_time[0] == without_time[1]


def test_progress_shows_the_measure(runs: dict[str, Path], tmp_path: Path) -> None:
    seen: list[Progress] = []
    few = BUDGET | {"steps": 128}
    residual_rl.improve("track", LEARNERS["improved"][0], out=tmp_path, on_progress=seen.append, algorithm=CAREFUL, **few)
    row = evaluations(tmp_path)[0]
    assert seen[0].measured_by == "return"
    assert (seen[0].base, seen[0].policy) == pytest.approx((row["base_mean_return"], row["mean_return"]))


def test_the_report_is_about_returns(runs: dict[str, Path]) -> None:
    text = write_report([runs["improved"]]).read_text()
    assert "Promoted: mean return" in text
    assert "paired t, corrected for skewness" in text
    assert "McNemar" not in text
    both = write_report(list(runs.values())).read_text()
    assert "1 of 2 runs promoted" in both
