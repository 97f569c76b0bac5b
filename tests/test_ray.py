"""Trials on a real Ray cluster of two nodes on this machine: workers and nodes are lost, and the numbers stay the same."""

import csv
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_study import FAILING, TINY_TRIAL

from residual_rl.controllers import ReactivePush
from residual_rl.errors import Interrupted, ResidualRLError
from residual_rl.studies import Study, Trial, ray_runner, run
from residual_rl.studies.attempt import run_trial
from residual_rl.studies.ray_runner import run_on_ray
from residual_rl.studies.ray_task import read_place
from residual_rl.studies.results import collect_results, read_results
from residual_rl.studies.trial_directory import TrialState, standing

KILLED = replace(TINY_TRIAL, steps=2400)
ON_A_LOST_NODE = replace(KILLED, seed=1)
OWN = replace(KILLED, variant="own", controller=f"{__name__}:own_push")
EVALUATED = 800  # steps between evaluations
own_push = ReactivePush()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same trials in local processes."""
    out = tmp_path_factory.mktemp("local")
    states = run([KILLED, ON_A_LOST_NODE, OWN], out, jobs=2)
    assert set(states.values()) == {TrialState.FINISHED}
    return out


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without CPUs, and two nodes with one CPU each."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'residual-rl[ray]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # else other processes of a busy machine make this take minutes
        patch.setattr(ray_runner, "POLL_SECONDS", 0.05)  # s; else a tiny training may be over at the second look
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(2):
            made.add_node(num_cpus=1)
        yield made
        made.shutdown()


def evaluations(trial: Trial, out: Path) -> str:
    return (out / trial.name / "run" / "evaluations.csv").read_text()


def numbers(trial: Trial, out: Path) -> list[list[dict[str, str]]]:
    """All metrics and evaluations of a trial but for the wall-clock times, and its verdict."""
    tables = []
    for name in ("metrics.csv", "evaluations.csv"):
        with (out / trial.name / "run" / name).open() as file:
            rows = list(csv.DictReader(file))
        tables.append([{key: value for key, value in row.items() if "seconds" not in key} for row in rows])
    assert len(tables[1]) == 1 + trial.steps // EVALUATED
    with (out / "verdicts.csv").open() as file:
        judged = [
            row | {"study": ""}
            for row in csv.DictReader(file)
            if (row["variant"], row["seed"]) == (trial.variant, str(trial.seed))
        ]
    assert len(judged) == 1
    return [*tables, judged]


def once(trial: Trial, out: Path, act: Callable[[Any], object], done: dict[Trial, str]) -> None:
    """Act on the worker of a trial when the trial is in the middle of its training, and note its evaluations by then."""
    place = read_place(out / trial.name)
    if trial not in done and place is not None and standing(trial, out / trial.name).step > EVALUATED:
        done[trial] = evaluations(trial, out)
        act(place)


def test_trials_that_lose_their_worker_or_node_end_with_the_numbers_of_an_undisturbed_run(
    cluster: Any, undisturbed: Path, tmp_path: Path
) -> None:
    done: dict[Trial, str] = {}
    told: list[str] = []

    def kill(place: Any) -> None:
        os.kill(place.pid, signal.SIGKILL)

    def remove(place: Any) -> None:
        cluster.remove_node(
            next(node for node in cluster.worker_nodes if node.unique_id == place.node or node.node_id == place.node)
        )

    def disturb(states: Mapping[Trial, TrialState]) -> None:
        once(KILLED, tmp_path, kill, done)
        once(ON_A_LOST_NODE, tmp_path, remove, done)

    trials = [KILLED, ON_A_LOST_NODE, FAILING]
    often = partial(run_trial, checkpoint_seconds=0.0)  # every 30 s would be too seldom for a training of seconds
    states = run_on_ray(trials, tmp_path, address=cluster.address, run=often, watch=disturb, tell=told.append)
    collect_results(Study("tiny", "", tuple(trials)), tmp_path)
    assert list(states.values()) == [TrialState.FINISHED, TrialState.FINISHED, TrialState.FAILED]
    assert done.keys() == {KILLED, ON_A_LOST_NODE}
    for trial in (KILLED, ON_A_LOST_NODE):
        place = read_place(tmp_path / trial.name)
        assert place is not None
        assert place.attempt > 1
        assert evaluations(trial, tmp_path).startswith(done[trial])  # resumed: even the seconds are those from before
        assert numbers(trial, tmp_path) == numbers(trial, undisturbed)
        assert any(line.startswith(f"{trial.name}: its worker was lost; Ray started it again") for line in told)
    assert any(line.startswith(f"{FAILING.name}: failed: ") and "nobody.npz" in line for line in told)
    assert {row["state"] for row in read_results(tmp_path / "results.csv")} == {"finished", "failed"}


def test_a_study_on_a_cluster_that_is_interrupted_resumes_with_the_same_numbers(
    cluster: Any, undisturbed: Path, tmp_path: Path
) -> None:
    done: dict[Trial, str] = {}

    def interrupt(states: Mapping[Trial, TrialState]) -> None:
        once(OWN, tmp_path, lambda place: os.kill(os.getpid(), signal.SIGINT), done)

    with pytest.raises(Interrupted):
        run([OWN], tmp_path, ray=cluster.address, watch=interrupt)
    assert {row["state"] for row in read_results(tmp_path / "results.csv")} == {"unfinished"}
    stopped_at = standing(OWN, tmp_path / OWN.name).step
    assert EVALUATED < stopped_at < OWN.steps
    assert run([OWN], tmp_path, ray=cluster.address) == {OWN: TrialState.FINISHED}
    assert numbers(OWN, tmp_path) == numbers(OWN, undisturbed)


def test_an_address_where_nothing_listens_is_named(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'residual-rl[ray]'")
    for address in ("127.0.0.1:9", "127.0.0.1:nine", "nowhere.invalid:6379"):
        with pytest.raises(ResidualRLError, match=f"no Ray cluster answers at '{address}'.*ray start --head"):
            run([FAILING], tmp_path, ray=address)


def test_without_ray_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ResidualRLError, match=r"studies on a cluster need ray: pip install 'residual-rl\[ray\]'"):
        run([FAILING], tmp_path, ray="local")


def test_trials_that_cannot_run_together_are_refused_before_anything_starts(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ResidualRLError, match="names belong to several trials, such as slippery-push/tiny/seed-0"):
        run([TINY_TRIAL, KILLED], out)
    with pytest.raises(ResidualRLError, match="cpus must be more than 0"):
        run([TINY_TRIAL], out, cpus=0.0)
    with pytest.raises(ResidualRLError, match="needs a controller"):
        run([Trial("pendulum-of-mine", "x", 0, 100, env="Pendulum-v1")], out)
    assert not out.exists()
