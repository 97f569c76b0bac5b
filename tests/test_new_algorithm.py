"""An algorithm in a file of its own, and a row in `ALGORITHMS`: all else works with it, and names it if it cannot."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from categorical import Categorical
from safetensors.numpy import load_file
from tiny import TINY

import residual_rl
from residual_rl.config import from_json, to_json
from residual_rl.errors import ResidualRLError, RunError
from residual_rl.learning.algorithms import ALGORITHMS
from residual_rl.presets import make_config
from residual_rl.reports.report import write_report
from residual_rl.runs.reading import read_config, read_rows
from residual_rl.runs.run import Run

BUDGET: dict[str, Any] = TINY | {"algorithm": Categorical(), "steps": 800, "tell": lambda line: None}


class Killed(BaseException):
    """As abrupt as a kill: nothing is saved any more."""


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ALGORITHMS, "categorical", Categorical)
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run after two of its four cycles."""
    path = tmp_path_factory.mktemp("runs") / "run"

    def kill(progress: Any) -> None:
        if progress.step >= 600:
            raise Killed

    with pytest.raises(Killed):
        residual_rl.improve("slippery-push", out=path, checkpoint_seconds=0.0, on_progress=kill, **BUDGET)
    return path


@pytest.fixture(scope="module")
def run(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, finished after it was killed."""
    arrays = load_file(checkpoint / "checkpoint.safetensors")
    assert arrays["replay/.extras['log_probability']"].shape == (400,)
    assert arrays["replay/.extras['noise']"].dtype == np.float16
    assert arrays["learner['key']"].dtype == np.uint32
    residual_rl.improve("slippery-push", out=checkpoint, **BUDGET)
    return checkpoint


def numbers(path: Path, name: str) -> list[dict[str, float]]:
    return [row | {"wall_seconds": 0.0} for row in read_rows(path / name)]


def test_a_killed_run_goes_on_with_the_same_numbers(run: Path, tmp_path: Path) -> None:
    residual_rl.improve("slippery-push", out=tmp_path / "whole", **BUDGET)
    for name in ("metrics.csv", "evaluations.csv"):
        np.testing.assert_equal(numbers(run, name), numbers(tmp_path / "whole", name))
    for name in ("policy.safetensors", "verdict.json"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_its_metrics_are_columns(run: Path) -> None:
    rows = read_rows(run / "metrics.csv")
    assert "critic_loss" not in rows[0]
    assert np.isfinite(rows[-1]["cross_entropy"])
    assert rows[-1]["mean_log_probability"] < 0.0  # of what was drawn while acting, from the replay


def test_its_configuration_is_kept_and_checked(run: Path) -> None:
    config = read_config(run)
    assert config.algorithm == Categorical()
    assert from_json(json.loads(json.dumps(to_json(config)))) == config
    with pytest.raises(ResidualRLError, match=r"algorithm\.atoms: .* got 1"):
        make_config(task="push", controller="zero", algorithm={"name": "categorical", "atoms": 1})
    with pytest.raises(ResidualRLError, match="needs preset 'silver2018'"):
        make_config(task="push", controller="zero", algorithm=Categorical(), method="expert-explore")


def test_what_was_learned_is_judged_and_delivered(run: Path) -> None:
    assert residual_rl.reevaluate(run, episodes=5).episodes == 5
    policy = residual_rl.load(run)
    assert policy.promoted == Run(run, read_config(run)).verdict().promoted


def test_the_doctor_says_what_it_can_without_a_critic(run: Path) -> None:
    findings = {finding.name: finding for finding in residual_rl.diagnose(run).findings}
    for name in ("goal", "action", "value"):
        assert findings[name].standing == "unknown"
        assert "no critic" in findings[name].meaning
    assert findings["preference"].standing != "unknown"


def test_there_is_a_report(run: Path, tmp_path: Path) -> None:
    assert "categorical" in write_report([run], tmp_path / "report.html").read_text()


def test_an_export_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ResidualRLError, match="cannot hold what algorithm 'categorical' learned"):
        residual_rl.export(run, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_run_of_an_algorithm_that_is_not_there_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ALGORITHMS, "categorical")
    with pytest.raises(RunError, match=r"no algorithm called 'categorical'.*gated-ddpg"):
        read_config(run)


def test_a_metric_that_the_algorithm_does_not_name_is_named(tmp_path: Path) -> None:
    config = make_config(task="push", controller="zero", algorithm=Categorical())
    with Run(tmp_path, config) as run, pytest.raises(ResidualRLError, match="no column 'kl': algorithm 'categorical'"):
        run.append("metrics.csv", {"step": 1, "kl": 0.5})
    assert not (tmp_path / "metrics.csv").exists()


def test_a_strangers_class_does_not_pass_for_another_algorithm() -> None:
    config = make_config("default", task="push", controller="zero")
    impostor = replace(config.algorithm)
    object.__setattr__(impostor, "name", "categorical")
    with pytest.raises(ResidualRLError, match="is Categorical in ALGORITHMS, not GatedDDPG"):
        replace(config, algorithm=impostor)
