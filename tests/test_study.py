"""Running studies: real processes that fail, are killed and resume, and the results."""

import csv
import io
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny import TINY

from residual_rl.cli.study_table import carry_out, lines
from residual_rl.config import to_json
from residual_rl.errors import Interrupted, ResidualRLError, RunError
from residual_rl.runs.files import EVALUATIONS
from residual_rl.runs.reading import metric_columns
from residual_rl.runs.run import Run
from residual_rl.studies import STUDIES, runner
from residual_rl.studies.attempt import attempt
from residual_rl.studies.estimate import estimates
from residual_rl.studies.results import RESULT_COLUMNS, collect_results, read_results, rows_of
from residual_rl.studies.runner import run_study
from residual_rl.studies.trial import INITIAL, Study, Trial
from residual_rl.studies.trial_directory import TrialState, begin, standing, state_of

PROBE = Trial("push", "probe", seed=0, steps=800)


def quick(trial: Trial, directory: Path) -> list[dict[str, Any]]:
    """Stands in for `run_trial`: does at once what the trial's variant says, and counts its attempts."""
    with (directory / "attempts").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if trial.variant == "raises" and not (directory.parents[2] / "repaired").exists():
        raise ResidualRLError("the arm fell off")
    if trial.variant == "exits":
        os._exit(3)
    if trial.variant == "killed" and len(attempts(directory)) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if trial.variant == "waits":
        from residual_rl.processes import stop_requested

        with stop_requested() as stopped:
            while not (directory.parents[2] / "go").exists():
                time.sleep(0.02)
                if stopped():
                    (directory / "checkpoint").touch()
                    raise Interrupted("stopped")
    return []


def attempts(directory: Path) -> list[int]:
    path = directory / "attempts"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def until(condition: Any, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# ---- processes ----


def test_if_a_trial_fails_the_others_finish_and_only_retry_repeats_it(tmp_path: Path) -> None:
    names = ("raises", "exits", "killed", "fine")
    trials = [replace(PROBE, variant=name) for name in names]
    directories = {name: tmp_path / trial.name for name, trial in zip(names, trials, strict=True)}
    told: list[str] = []

    def states(**options: Any) -> dict[str, TrialState]:
        ended = run_study(trials, tmp_path, jobs=4, run=quick, tell=told.append, **options)
        return {trial.variant: state for trial, state in ended.items()}

    first = states()
    assert first == {
        "raises": TrialState.FAILED,
        "exits": TrialState.FAILED,
        "killed": TrialState.UNFINISHED,
        "fine": TrialState.FINISHED,
    }
    assert any("the arm fell off" in line for line in told)
    assert any("status 3" in line for line in told)
    assert any("SIGKILL" in line for line in told)
    assert "the arm fell off" in (directories["raises"] / "log.txt").read_text()

    (tmp_path / "repaired").touch()
    assert states() == first | {"killed": TrialState.FINISHED}
    assert states(retry=True) == first | {"killed": TrialState.FINISHED, "raises": TrialState.FINISHED}
    assert {name: len(attempts(path)) for name, path in directories.items()} == {
        "raises": 2,
        "exits": 2,
        "killed": 2,
        "fine": 1,
    }


RUNNER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from dataclasses import replace
from test_study import PROBE, quick
from residual_rl.errors import Interrupted
from residual_rl.studies.runner import run_study
if __name__ == "__main__":
    trials = [replace(PROBE, variant="waits", seed=seed) for seed in range(2)]
    try:
        run_study(trials, Path({out!r}), jobs=1, run=quick)
    except Interrupted:
        sys.exit(130)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_study_that_is_stopped_or_killed_leaves_no_process_behind_and_resumes(tmp_path: Path, how: signal.Signals) -> None:
    script, out = tmp_path / "runner.py", tmp_path / "out"
    script.write_text(RUNNER.format(tests=str(Path(__file__).parent), out=str(out)))
    trials = [replace(PROBE, variant="waits", seed=seed) for seed in range(2)]
    begun, waiting = (out / trial.name for trial in trials)
    with subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL) as runner, ExitStack() as stack:
        stack.callback(runner.kill)  # else a test that failed would wait for it without end
        until(lambda: attempts(begun))
        with pytest.raises(RunError, match="in use by another process"):
            run_study(trials, out, run=quick)
        (child,) = attempts(begun)
        assert alive(child)
        runner.send_signal(how)
        assert runner.wait(60) == (130 if how == signal.SIGINT else -signal.SIGKILL)
    until(lambda: not alive(child))
    assert (begun / "checkpoint").exists()
    assert [state_of(begun), state_of(waiting)] == [TrialState.UNFINISHED, TrialState.WAITING]
    if how == signal.SIGKILL:
        (out / "go").touch()
        assert set(run_study(trials, out, jobs=2, run=quick).values()) == {TrialState.FINISHED}
        assert [len(attempts(begun)), len(attempts(waiting))] == [2, 1]


def test_a_directory_of_another_trial_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / PROBE.name).mkdir(parents=True)
    attempt(PROBE, tmp_path / PROBE.name, quick)
    other = replace(PROBE, steps=900, fields={"batch_size": 64})
    with pytest.raises(RunError, match=r"(?s)fields.batch_size: None -> 64.*steps: 800 -> 900"):
        run_study([other], tmp_path, run=quick)
    assert len(attempts(tmp_path / PROBE.name)) == 1


# ---- real trials ----


def dotted(values: dict[str, Any]) -> dict[str, Any]:
    config = Trial("push", "tiny", 0, 800, fields={name: value for name, value in values.items() if name != "steps"}).config()
    plain = to_json(config)
    return {name: plain[name] for name in values if name != "steps"}


TINY_TRIAL = Trial("slippery-push", "tiny", seed=0, steps=1600, fields=dotted(TINY | {"evaluation_interval": 800}))
FAILING = Trial("slippery-push", "nobody", seed=0, steps=400, controller="nobody.npz")
BASE = Trial("slippery-push", "base", seed=0, steps=1, method=INITIAL, fields={"evaluation_episodes": 5})


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose process was killed in the middle of a training, and which was then started again."""
    out = tmp_path_factory.mktemp("studied")
    trials = [TINY_TRIAL, FAILING, BASE]
    killed = []

    def kill_once(states: Any) -> None:
        if not killed and standing(TINY_TRIAL, out / TINY_TRIAL.name).step >= 400:
            (child,) = [child for child in multiprocessing.active_children() if child.name == TINY_TRIAL.name]
            child.kill()
            killed.append(child)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "POLL_SECONDS", 0.02)  # s; else the training may be over at the second look
        first = run_study(trials, out, jobs=2, watch=kill_once)
    assert killed
    assert list(first.values()) == [TrialState.UNFINISHED, TrialState.FAILED, TrialState.FINISHED]
    collect_results(Study("tiny", "", tuple(trials)), out)
    assert {row["state"] for row in read_results(out / "results.csv")} == {"unfinished", "failed", "finished"}
    second = run_study(trials, out, jobs=2)
    assert list(second.values()) == [TrialState.FINISHED, TrialState.FAILED, TrialState.FINISHED]
    return out


def test_results_have_every_trial_with_its_state(studied: Path) -> None:
    made = Study("tiny", "", (TINY_TRIAL, FAILING, BASE), paper={("slippery-push", "tiny"): 1.0})
    assert collect_results(made, studied) == 3
    rows = read_results(studied / "results.csv")
    assert tuple(rows[0]) == RESULT_COLUMNS
    assert {row["study"] for row in rows} == {"tiny"}
    by_variant = {variant: [row for row in rows if row["variant"] == variant] for variant in ("tiny", "nobody", "base")}
    assert [row["step"] for row in by_variant["tiny"]] == ["0", "800", "1600"]
    assert {(row["state"], row["paper"], row["steps"]) for row in by_variant["tiny"]} == {("finished", "1.0", "1600")}
    (failed,) = by_variant["nobody"]
    assert failed["state"] == "failed"
    assert failed["step"] == failed["success_rate"] == ""
    assert "nobody.npz" in json.loads((studied / FAILING.name / "outcome.json").read_text())["error"]
    (base,) = by_variant["base"]
    assert base["success_rate"] == base["base_success_rate"] == by_variant["tiny"][0]["base_success_rate"]
    assert f"mujoco={version('mujoco')}" in base["versions"]
    with (studied / "verdicts.csv").open() as file:
        assert [row["variant"] for row in csv.DictReader(file)] == ["tiny"]


def test_the_lowest_acting_average_is_over_a_hundred_episodes_and_never_rises(tmp_path: Path) -> None:
    trial = replace(PROBE, fields={"episodes_per_cycle": 50})
    begin(trial, tmp_path)
    evaluation = dict.fromkeys(EVALUATIONS, 0.5)
    measured = dict.fromkeys(metric_columns(trial.config().algorithm), 0.0)
    with Run(tmp_path / "run", trial.config()) as run:
        for cycle, rate in enumerate((0.5, 0.3, 0.9, 0.1, 1.0)):
            step = {"step": 2500 * (cycle + 1)}
            run.append(
                "metrics.csv",
                measured | step | {"acting_success_rate": rate},
            )
            run.append("evaluations.csv", evaluation | step)
    lowest = [row["lowest_acting_success_rate"] for row in rows_of(trial, tmp_path)]
    assert lowest == ["", 0.4, 0.4, 0.4, 0.4]  # means of two cycles: 0.4, 0.6, 0.5, 0.55


def test_a_trial_is_estimated_from_its_kind_or_else_measured(studied: Path) -> None:
    half = replace(TINY_TRIAL, seed=7, steps=2 * TINY_TRIAL.steps)
    stranger = replace(TINY_TRIAL, variant="stranger")
    base = replace(BASE, variant="other")
    trials = [TINY_TRIAL, half, stranger, base]
    found = estimates(trials, trials, studied)
    assert found[TINY_TRIAL] == (0.0, "its kind")
    at = standing(TINY_TRIAL, studied / TINY_TRIAL.name)
    assert found[half].hours == pytest.approx(2 * at.wall_seconds / 3600)
    assert [found[trial].basis for trial in (half, stranger, base)] == ["its kind", "a try", "a try"]
    assert 0 < found[base].hours < found[stranger].hours < 1
    assert estimates([half], [TINY_TRIAL, half], studied) == {half: found[half]}


def test_a_trial_that_cannot_be_measured_has_no_hours_and_gives_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over_nothing = replace(TINY_TRIAL, controller="discrete-mpc", task="mbrl-pusher")
    found = estimates([over_nothing, BASE], [over_nothing, BASE], tmp_path)
    assert math.isnan(found[over_nothing].hours)
    assert found[over_nothing].basis.startswith("cannot be tried: ")
    assert 0 < found[BASE].hours < 1
    shown = Console(file=io.StringIO(), width=80)
    monkeypatch.setitem(STUDIES, "tiny", Study("tiny", "", (over_nothing, BASE)))
    monkeypatch.setattr("residual_rl.cli.study_table.estimates", lambda *_: found)
    carry_out("tiny", only=[], seeds=None, budget=None, jobs=1, dry_run=True, retry=False, out=tmp_path / "out", console=shown)
    said = shown.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(rf"{BASE.name} +waiting +{BASE.steps:,} +0\.\d\d +a try", said), said
    assert re.search(rf"{over_nothing.name} +waiting +{over_nothing.steps:,} +\?", said), said
    assert f"\n{over_nothing.name} {found[over_nothing].basis}" in said
    assert "without the 1 that cannot be estimated" in " ".join(said.split())


def test_the_command_lists_without_running_and_then_runs_and_prints_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STUDIES, "tiny", Study("tiny", "a base and a mistake", (BASE, FAILING)))
    shown = Console(file=io.StringIO(), width=200)
    options: dict[str, Any] = {"seeds": None, "budget": None, "jobs": 2, "retry": False, "out": tmp_path, "console": shown}
    assert carry_out("tiny", only=["base"], dry_run=True, **options)
    listed = shown.file.getvalue()  # type: ignore[attr-defined]
    assert BASE.name in listed
    assert FAILING.name not in listed
    assert list(tmp_path.iterdir()) == []
    assert not carry_out("tiny", only=[], dry_run=False, **options)
    said = shown.file.getvalue()[len(listed) :]  # type: ignore[attr-defined]
    assert f"{BASE.name}: finished" in said
    assert "1 failed, 1 finished" in said
    for retry, left in ((False, 0), (True, 1)):  # what failed is not run again unless that is asked for
        again = Console(file=io.StringIO(), width=200)
        assert carry_out("tiny", only=[], dry_run=True, **options | {"retry": retry, "console": again})
        assert f"2 trials in {tmp_path}, {left} to run" in again.file.getvalue()
    assert "--retry" in said
    assert {row["state"] for row in read_results(tmp_path / "results.csv")} == {"finished", "failed"}


def test_trials_from_several_directories_are_gathered_in_one_table(studied: Path, tmp_path: Path) -> None:
    made = Study("tiny", "", (TINY_TRIAL, FAILING, BASE), paper={(TINY_TRIAL.task, TINY_TRIAL.variant): 1.0})
    longer = replace(TINY_TRIAL, steps=2 * TINY_TRIAL.steps)
    other = replace(TINY_TRIAL, seed=5)
    elsewhere = [(longer, tmp_path / "longer"), (other, tmp_path / "other")]
    for trial, directory in elsewhere:
        begin(trial, directory / trial.name)
    out = tmp_path / "made" / "here"
    assert collect_results(made, out, [studied, *(directory for _, directory in elsewhere)]) == 5
    rows = read_results(out / "results.csv")
    variants = {(row["variant"], row["seed"], row["state"]) for row in rows if row["task"] == TINY_TRIAL.task}
    longest = f"{TINY_TRIAL.variant}-{longer.steps / 1000:g}k"
    assert {(longest, str(longer.seed), "unfinished"), (other.variant, "5", "unfinished")} < variants
    assert {row["paper"] for row in rows if row["variant"] in (TINY_TRIAL.variant, longest)} == {"1.0"}
    alone = tmp_path / "alone"
    collect_results(made, alone, [studied])
    kept = [row for row in rows if row["state"] != "unfinished"]
    assert kept == read_results(alone / "results.csv")
    assert (out / "verdicts.csv").read_text() == (alone / "verdicts.csv").read_text()


def test_a_trial_that_is_there_twice_and_a_directory_without_any_are_refused(studied: Path, tmp_path: Path) -> None:
    made = Study("tiny", "", (TINY_TRIAL, FAILING, BASE))
    begin(TINY_TRIAL, tmp_path / "copy" / TINY_TRIAL.name)
    with pytest.raises(RunError, match=f"{TINY_TRIAL.name} is there twice"):
        collect_results(made, tmp_path / "out", [studied, tmp_path / "copy"])
    (tmp_path / "empty").mkdir()
    for directories in ([studied, tmp_path / "empty"], [tmp_path / "empty"]):
        with pytest.raises(RunError, match="empty holds no trials"):
            collect_results(made, tmp_path / "out", directories)
    stranger = replace(TINY_TRIAL, variant="stranger")
    begin(stranger, tmp_path / "another" / stranger.name)
    with pytest.raises(RunError, match="none of study 'tiny': it has no trials slippery-push/stranger"):
        collect_results(made, tmp_path / "out", [studied, tmp_path / "another"])
    assert not (tmp_path / "out").exists()


def test_a_base_that_every_call_of_a_study_runs_is_taken_once(studied: Path, tmp_path: Path) -> None:
    made = Study("tiny", "", (TINY_TRIAL, FAILING, BASE))
    begin(BASE, tmp_path / "second" / BASE.name)
    for directories in ([studied, tmp_path / "second"], [tmp_path / "second", studied]):
        assert collect_results(made, tmp_path / "out", directories) == 3
        states = [row["state"] for row in read_results(tmp_path / "out" / "results.csv") if row["variant"] == BASE.variant]
        assert states == ["finished"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text.rsplit(",", 3)[0], "line 4: it has too few"),
        (lambda text: text.replace("success,", "luck,", 1), "line 2: measured_by is 'luck'"),
        (lambda text: re.sub(r",\d+\.\d+,", ",zero,", text, count=1), "line 2: .* is 'zero', not a number"),
        (lambda text: re.sub(r"(,success,\d+,[\d.]+,\d+),[\d.]+,", r"\1,,", text, count=1), "line 2: success_rate is ''"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(
    studied: Path, tmp_path: Path, change: Callable[[str], str], complaint: str
) -> None:
    lines = (studied / "results.csv").read_text().splitlines(keepends=True)[:4]
    (tmp_path / "results.csv").write_text(change("".join(lines)))
    with pytest.raises(RunError, match=complaint):
        read_results(tmp_path / "results.csv")


def test_a_trial_whose_configuration_is_damaged_is_named(studied: Path, tmp_path: Path) -> None:
    out = shutil.copytree(studied / TINY_TRIAL.name, tmp_path / "trial")
    (out / "run" / "config.json").write_text("[]")
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        standing(TINY_TRIAL, out)


@pytest.mark.parametrize("text", ["{}", '{"state": "x"}', "[]", "no json"])
def test_a_damaged_outcome_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "outcome.json").write_text(text)
    with pytest.raises(RunError, match=r"outcome\.json is damaged"):
        state_of(tmp_path)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "locked" / ".lock").mkdir(parents=True)
    for out in (tmp_path / "file" / "out", tmp_path / "locked"):
        with pytest.raises(RunError, match="cannot write to"):
            run_study([BASE], out)


def test_a_variant_of_several_seeds_and_budgets_is_one_line_for_each_budget(tmp_path: Path) -> None:
    line = [replace(TINY_TRIAL, seed=seed, steps=steps) for seed, steps in ((0, 100), (0, 200), (1, 200))]
    for number, trial in enumerate(line):
        begin(trial, tmp_path / str(number) / trial.name)
    collect_results(Study("tiny", "", (TINY_TRIAL,)), tmp_path / "out", [tmp_path / str(number) for number in range(3)])
    rows = {(row["variant"], row["seed"], row["steps"]) for row in read_results(tmp_path / "out" / "results.csv")}
    longer = f"{TINY_TRIAL.variant}-0.2k"
    assert rows == {(TINY_TRIAL.variant, "0", "100"), (longer, "0", "200"), (longer, "1", "200")}


def test_a_trial_that_is_measured_by_its_return_shows_it(tmp_path: Path) -> None:
    directory = tmp_path / PROBE.name
    begin(PROBE, directory)
    with Run(directory / "run", replace(PROBE.config(), measured_by="return")) as run:
        run.append("evaluations.csv", dict.fromkeys(EVALUATIONS, 0.0) | {"mean_return": -148.25, "base_mean_return": -674.0})
    at = standing(PROBE, directory)
    assert (at.measured_by, at.base, at.policy) == ("return", -674.0, -148.25)
    page = io.StringIO()
    Console(file=page, width=200).print(lines({PROBE: TrialState.RUNNING}, tmp_path))
    assert re.search(r"-674\s+-148\.2\b", page.getvalue())
