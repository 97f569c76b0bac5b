"""Reports and learning curves."""

import re
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from residual_rl import api
from residual_rl.cli.main import app
from residual_rl.config import Config
from residual_rl.diagnosis.diagnosis import Diagnosis, Finding
from residual_rl.errors import ResidualRLError, RunError
from residual_rl.evaluation import Outcome
from residual_rl.learning.gated_ddpg import GatedDDPG
from residual_rl.learning.serialization import to_arrays
from residual_rl.presets import make_config
from residual_rl.reports.acting import ACTING_EPISODES, acting_average
from residual_rl.reports.figures import COLORS, NAME_GAP, _name_ends, learning_curve
from residual_rl.reports.report import _burn_in, write_report
from residual_rl.runs.reading import read_config, read_diagnosis
from residual_rl.runs.run import Run
from residual_rl.statistics import wilson_interval
from residual_rl.tasks import find_task
from residual_rl.verdict import Verdict, judge

EPISODES = 16
TINY = GatedDDPG(hidden=(16, 16), num_critics=2)


def outcome(success: list[bool], steps_to_success: list[float] | None = None) -> Outcome:
    """A success is worth 5 more than a failure."""
    array = np.array(success)
    steps = np.where(array, 20.0, np.nan) if steps_to_success is None else np.array(steps_to_success)
    ones = np.ones(len(array))
    return Outcome(array, np.where(array, -30.0, -35.0), steps, 0.1 * ones, 0.2 * ones, np.where(array, steps, 500.0), 0 * ones)


def verdict(config: Config, fixed: int, broken: int) -> Verdict:
    base = [False] * fixed + [True] * (EPISODES - fixed)
    policy = [True] * (EPISODES - broken) + [False] * broken
    return judge(config.task, config.controller, outcome(base), outcome(policy), config.measured_by)


def write_run(
    path: Path, *, cycles: int = 20, fixed: int | None = None, broken: int = 0, policy: bool = False, **fields
) -> Path:
    """A run directory with invented numbers; finished if `fixed` says how its verdict goes."""
    settings = {"task": "slippery-push", "controller": "my-push", "algorithm": TINY, "verdict_episodes": EPISODES}
    config = make_config(**(settings | fields))
    with Run(path, config) as run:
        for cycle in range(cycles):
            metrics = {
                "wall_seconds": 1.0,
                "critic_loss": 0.1,
                "mean_value": -3.0,
                "driven_by_residual": 0.5,
                "dropped_episodes": 0,
            }
            step = {"step": 400 * (cycle + 1)}
            acting = {"acting_success_rate": 0.5, "acting_mean_return": -40.0}
            run.append("metrics.csv", metrics | step | acting | {"burn_in": int(cycle < 5)})
            if cycle % 5 == 4:
                rate = 0.4 + 0.02 * cycle + 0.01 * config.seed
                low, high = wilson_interval(round(100 * rate), 100)
                evaluation = {"wall_seconds": 1.0, "episodes": 100, "success_rate": rate, "low": low, "high": high}
                mean_return = -36.0 + cycle / 4
                returns = {"mean_return": mean_return, "return_low": mean_return - 1, "return_high": mean_return + 1}
                base = {
                    "base_success_rate": 0.45,
                    "base_mean_return": -35.0,
                    "base_return_low": -35.8,
                    "base_return_high": -34.2,
                    "mean_time": 100.0,
                    "time_low": 80.0,
                    "time_high": 120.0,
                    "base_mean_time": 110.0,
                }
                others = {"deviation": 0.1, "fixed": 9, "broken": 1}
                run.append("evaluations.csv", step | evaluation | returns | base | others)
        if policy:
            spec = find_task(config.task).spec
            shapes = eqx.filter_eval_shape(lambda key: TINY.init(spec, key).averaged, jax.random.key(0))
            networks = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype) if hasattr(leaf, "shape") else leaf, shapes)
            run.save_policy(to_arrays(networks, "networks"), run.config.algorithm, 4000)
        if fixed is not None:
            run.finish(verdict(config, fixed, broken))
    return path


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run that was promoted."""
    return write_report([write_run(tmp_path_factory.mktemp("promoted") / "run", fixed=12, broken=1, policy=True)])


def test_report_begins_with_the_verdict(promoted: Path):
    text = promoted.read_text()
    assert promoted.name == "report.html"
    assert "Promoted: success rate 0.250 → 0.938" in re.search(r"<h1>(.*?)</h1>", text, re.S)[1]
    assert text.index("<h1>") < text.index("<svg")
    assert "fixed 12 of 12 failures, broke 1" in text
    for fact in (
        "slippery-push",
        "my-push",
        "rpl",
        "default",
        "mujoco",
        "algorithm.actors",
        "of step 4,000, caution 3",
    ):
        assert fact in text


def test_a_run_that_is_measured_by_its_return_is_told_in_returns(tmp_path: Path):
    text = write_report([write_run(tmp_path / "run", measured_by="return", fixed=12, broken=0)]).read_text()
    assert "Promoted: mean return −33.75 → −30" in re.search(r"<h1>(.*?)</h1>", text, re.S)[1]  # noqa: RUF001
    assert "base -33.75 -&gt; -30 mean return, difference 3.75" in text
    assert text.index("<th>mean return</th>") < text.index("<th>success rate</th>")
    assert "only the base fails" not in text
    assert "McNemar" not in text
    kept = write_report([write_run(tmp_path / "kept", measured_by="return", fixed=2, broken=2)]).read_text()
    assert "Not promoted: the base is delivered unchanged" in kept


def test_runs_that_are_measured_differently_are_compared_each_by_its_own(tmp_path: Path):
    runs = [write_run(tmp_path / measure, measured_by=measure, fixed=12, broken=1) for measure in ("success", "return")]
    text = write_report(runs).read_text()
    table = text.split("<h2>Runs</h2>")[1].split("</table>")[0]
    by_success, by_return = table.split("<tr>")[2:]
    assert "0.938" in by_success
    assert "0.938" not in by_return
    assert "−30.31" in by_return  # noqa: RUF001
    assert "measured by return" in by_return
    titles = re.findall(r">(success rate|mean return)</text>", text)
    assert {"success rate", "mean return"} == set(titles)


def test_report_needs_nothing_outside_itself(promoted: Path):
    text = promoted.read_text()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text) + re.findall(r"url\(([^)]*)\)", text)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "<script" not in text
    assert "@import" not in text


def test_curves_on_one_page_share_no_ids(promoted: Path):
    clips = re.findall(r'<clipPath id="([^"]*)"', promoted.read_text())
    assert len(clips) == len(set(clips)) > 1


def test_film_needs_a_controller_of_the_library(promoted: Path):
    assert "No film strips: the controller &#39;my-push&#39; is user-supplied and not stored in the run" in promoted.read_text()


def test_same_run_gives_the_same_page(promoted: Path):
    again = write_report([promoted.parent], promoted.with_name("again.html"))
    assert again.read_bytes() == promoted.read_bytes()


def test_report_says_that_the_base_is_delivered(tmp_path: Path):
    text = write_report([write_run(tmp_path / "run", cycles=0, fixed=2, broken=2)]).read_text()
    assert "Not promoted: the base is delivered unchanged" in text
    assert "none succeeds" not in text


@pytest.mark.parametrize("cycles", [0, 3, 5])
def test_unfinished_run_is_shown_as_such(tmp_path: Path, cycles: int):
    text = write_report([write_run(tmp_path / "run", cycles=cycles, policy=cycles == 5, steps=50_000)]).read_text()
    assert "No verdict yet" in text
    assert f"{400 * cycles:,} of 50,000 environment steps" in text
    assert ("<svg" in text) == (cycles == 5)
    assert "p-value" not in text


def test_what_the_doctor_found_stands_in_the_report_with_the_calibration(tmp_path: Path):
    path = write_run(tmp_path / "run", fixed=2, broken=2)
    assert "How learning went" not in write_report([path]).read_text()
    findings = (
        Finding("action", "warning", "0.001 times as much", "The critics hardly see the action.", {"ratio": 0.001}),
        Finding("goal", "unknown", "", "The world has no goals.", {}),
    )
    diagnosis = Diagnosis(8000, findings, ((-3.0, -2.0), (-1.0, -1.5)))
    Run(path, read_config(path)).save_diagnosis(diagnosis)
    assert read_diagnosis(path) == diagnosis
    text = write_report([path]).read_text()
    section = text.split("<h2>How learning went</h2>")[1].split("<h2>")[0]
    assert re.search(r"1 of 2 measurements\s+warns", section)
    assert "The critics hardly see the action." in section
    assert "discounted return that followed" in section
    assert section.count("<svg") == 1
    (path / "diagnosis.json").write_text('{"format": 1, "step": 1}')
    with pytest.raises(RunError, match=r"diagnosis\.json is damaged"):
        write_report([path])


def test_comparison_lies_beside_its_runs(tmp_path: Path):
    runs = [write_run(tmp_path / f"seed-{seed}", seed=seed, fixed=12) for seed in range(2)]
    runs.append(write_run(tmp_path / "seed-2", seed=2))
    runs.append(write_run(tmp_path / "plain", task="push", fixed=1, controller="<b>$mine$</b>"))
    page = write_report(runs)
    text = page.read_text()
    assert page == tmp_path / "report.html"
    assert "2 of 4 runs promoted, 1 unfinished" in text
    assert all(name in text for name in ("seed-0", "seed-1", "seed-2", "plain", "not promoted"))
    assert "<b>" not in text
    assert "&lt;b&gt;" in text


def test_report_goes_where_it_is_asked_to(tmp_path: Path):
    run = write_run(tmp_path / "run", cycles=0, fixed=12)
    assert write_report([run]) == run / "report.html"
    assert write_report([run], tmp_path / "new" / "mine.html").read_text().startswith("<!doctype html>")
    assert write_report([run], tmp_path) == tmp_path / "report.html"


def test_errors_say_what_would_be_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = write_run(tmp_path / "run", cycles=0)
    with pytest.raises(ResidualRLError, match="at least one run"):
        write_report([])
    with pytest.raises(RunError, match="no run directory"):
        write_report([tmp_path / "nowhere"])
    with pytest.raises(RunError, match="cannot write"):
        write_report([run], run / "config.json" / "report.html")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ResidualRLError, match=r"jinja2: pip install 'residual-rl\[report\]'"):
        write_report([run])


def test_training_succeeds_without_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    path = write_run(tmp_path / "run", cycles=0, fixed=12)
    monkeypatch.setattr(api, "improve", lambda *args, **kwargs: Run(path, read_config(path)))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    app(["train", "slippery-push"], standalone_mode=False)
    said = capsys.readouterr()
    assert str(path) in said.out
    assert "no report: reports and figures need matplotlib: pip install 'residual-rl[report]'" in said.err


def plain_rows(seeds: int, steps: int, **fields: str) -> list[dict[str, str]]:
    """Rows as a CSV file gives them. Success rate: step / 10000 + seed / 10."""
    rows = []
    for seed in range(seeds):
        for step in range(0, steps * 1000, 1000):
            rate = step / 10_000 + seed / 10
            numbers = {
                "success_rate": rate,
                "low": rate - 0.05,
                "high": rate + 0.05,
                "base_success_rate": 0.45,
                "episodes": 100,
            }
            names = {"task": "push", "method": "rpl", "preset": "default"} | fields
            rows.append(names | {key: str(value) for key, value in ({"seed": seed, "step": step} | numbers).items()})
    return rows


def return_rows(**fields: str) -> list[dict[str, str]]:
    """The same, measured by its return: -120 + step / 100, beside a base of -110."""
    rows = []
    for step in range(0, 5000, 1000):
        value = -120 + step / 100
        numbers = {"mean_return": value, "return_low": value - 4, "return_high": value + 6}
        numbers |= {"base_mean_return": -110, "base_return_low": -113, "base_return_high": -107, "episodes": 100}
        names = {"task": "pusher", "method": "rpl", "preset": "default", "measured_by": "return", "seed": "0"} | fields
        rows.append(names | {key: str(value) for key, value in ({"step": step} | numbers).items()})
    return rows


def test_a_curve_of_returns_has_its_own_scale_and_the_bases_interval():
    (axis,) = learning_curve(return_rows(), selected=3000.0).axes
    assert axis.get_title(loc="left") == "mean return"
    np.testing.assert_allclose(thick_line(axis), [[step, -120 + step / 100] for step in range(0, 5000, 1000)])
    (base,) = [line for line in axis.lines if line.get_linewidth() == 1.4]
    assert base.get_ydata().tolist() == [-110, -110]
    bands = [collection.get_datalim(axis.transData).intervaly.tolist() for collection in axis.collections]
    assert bands == [[-113, -107], [-124, -74]]
    bottom, top = axis.get_ylim()
    assert -132 < bottom < -124
    assert -74 < top < -66


def test_panels_of_returns_and_of_successes_share_no_scale():
    figure = learning_curve(plain_rows(1, 5) + return_rows() + return_rows(task="other"))
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["push", "pusher", "other"]
    assert [axis.get_ylabel() for axis in figure.axes] == ["success rate", "mean return", "mean return"]
    assert figure.axes[0].get_ylim() == (0, 1.03)
    assert figure.axes[1].get_ylim()[0] < -120


def test_names_keep_their_distance_on_any_scale():
    rows = return_rows() + return_rows(method="scratch")
    (axis,) = learning_curve(rows).axes
    bottom, top = axis.get_ylim()
    heights = sorted(text.xy[1] for text in axis.texts)
    assert np.diff(heights).min() >= NAME_GAP * (top - bottom) - 1e-9
    assert heights[-1] <= top


def thick_line(axis) -> np.ndarray:
    (line,) = [line for line in axis.lines if line.get_linewidth() == 2]
    return line.get_xydata()


def test_several_seeds_are_averaged():
    (axis,) = learning_curve(plain_rows(seeds=3, steps=5)).axes
    np.testing.assert_allclose(thick_line(axis), [[step, step / 10_000 + 0.1] for step in range(0, 5000, 1000)])
    assert axis.get_ylim()[0] == 0


def test_mean_ends_where_the_first_seed_ends():
    shorter = [row for row in plain_rows(seeds=2, steps=5) if row["seed"] == "0" or int(row["step"]) <= 2000]
    (axis,) = learning_curve(shorter).axes
    assert thick_line(axis)[-1, 0] == 2000


def test_seeds_that_were_evaluated_at_other_steps_are_averaged_all_the_same():
    """Success rate: step / 10000 + seed / 10, seed 1 halfway between the steps of seed 0."""
    rows = [
        row | {"step": str(step), "success_rate": str(step / 10_000 + 0.1)}
        if row["seed"] == "1" and row["step"] != "0"
        else row
        for row in plain_rows(seeds=2, steps=5)
        for step in [int(row["step"]) + 500]
    ]
    (axis,) = learning_curve(rows).axes
    steps = [0, 1000, 1500, 2000, 2500, 3000, 3500, 4000]
    np.testing.assert_allclose(thick_line(axis), [[step, step / 10_000 + 0.05] for step in steps])


def test_lines_are_named_by_what_differs():
    rows = plain_rows(2, 3) + plain_rows(2, 3, preset="silver2018") + plain_rows(1, 3, method="scratch")
    (axis,) = learning_curve(rows).axes
    names = {text.get_text() for text in axis.texts}
    assert names == {"base", "base + residual, default", "base + residual, silver2018", "from scratch"}


def test_each_task_has_its_panel():
    figure = learning_curve(plain_rows(1, 3) + plain_rows(1, 3, task="slippery-push"))
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["push", "slippery-push"]
    assert learning_curve([]).axes == []


def test_line_has_the_same_color_in_every_panel():
    rows = plain_rows(1, 3) + plain_rows(1, 3, method="scratch") + plain_rows(1, 3, method="scratch", task="slippery-push")
    for axis in learning_curve(rows).axes:
        (name,) = [text for text in axis.texts if text.get_text() == "from scratch"]
        assert name.get_color() == COLORS[1]


def test_names_do_not_overlap():
    class Recorder:
        heights: list[float]

        def annotate(self, name, at, *args, **style):
            self.heights.append(at[1])

    recorder = Recorder()
    for rates in ([1.0, 1.0, 0.98], [0.0, 0.01, 0.5], [0.93, 0.9, 0.1]):
        recorder.heights = []
        _name_ends(recorder, 1.0, [(rate, "name", "black") for rate in rates])
        assert np.diff(recorder.heights).min() >= NAME_GAP - 1e-9
        assert max(recorder.heights) <= 1.0


def test_acting_average_waits_until_it_is_full_and_leaves_out_dropped_episodes():
    rows = [{"step": 10.0 * cycle, "acting_success_rate": rate} for cycle, rate in enumerate([0.0, np.nan, 1.0, 1.0])]
    assert acting_average(rows, "acting_success_rate", ACTING_EPISODES // 2) == [(20.0, 0.5), (30.0, 1.0)]
    assert acting_average(rows, "acting_success_rate", ACTING_EPISODES // 4) == []
    assert acting_average([], "acting_success_rate", 16) == []


def test_burn_in_may_come_back():
    rows = [{"step": 10.0 * (cycle + 1), "burn_in": value} for cycle, value in enumerate([1, 1, 0, 1, 0])]
    assert _burn_in(rows) == [(0.0, 20.0), (30.0, 40.0)]
