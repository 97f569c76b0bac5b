"""Table, figure and page of a study, from invented results."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from residual_rl.errors import ResidualRLError, RunError
from residual_rl.reports.figures import learning_curve
from residual_rl.statistics import bootstrap_interval, iqm, iqm_interval, wilson_interval
from residual_rl.studies import comparison
from residual_rl.studies.comparison import compare_variants, markdown, overall
from residual_rl.studies.dot_plot import dot_plot, too_many_for_curves
from residual_rl.studies.report import write_study_report
from residual_rl.studies.results import RESULT_COLUMNS, read_results, write_rows

BASE = 0.5


def trial(
    task: str, variant: str, seed: int, rates: list[float], state: str = "finished", **others: Any
) -> list[dict[str, Any]]:
    """The rows of a trial that was evaluated every 1000 steps, as strings: as they are read."""
    row: dict[str, Any] = dict.fromkeys(RESULT_COLUMNS, "") | {
        "study": "made-up",
        "task": task,
        "variant": variant,
        "seed": seed,
    }
    row |= {"method": "rpl", "preset": "default", "controller": "reactive-push", "state": state, "versions": "numpy=2"}
    row["measured_by"] = "success"
    rows = []
    for index, rate in enumerate(rates):
        low, high = wilson_interval(round(100 * rate), 100)
        numbers = {"success_rate": rate, "low": low, "high": high, "episodes": 100, "base_success_rate": BASE}
        rows.append(row | {"step": 1000 * index, "lowest_acting_success_rate": 0.3 if index else ""} | numbers | others)
    return [{name: str(value) for name, value in each.items()} for each in rows or [row]]


ROWS = [
    *trial("push", "initial", 0, [0.5], method="initial", paper=0.45),
    *trial("push", "ours", 0, [0.5, 0.4, 0.8, 0.95, 0.9, 1.0, 1.0], paper=1.0),
    *trial("push", "ours", 1, [0.5, 0.6, 0.97, 0.9, 0.95, 0.9, 0.9], paper=1.0),
    *trial("push", "ours", 2, [0.5, 0.6], state="unfinished", paper=1.0),
    *trial("push", "theirs", 0, [0.5, 0.1, 0.7]),
    *trial("push", "broken", 0, [], state="failed"),
]


def line(variant: str) -> comparison.Line:
    (found,) = [each for each in compare_variants(ROWS) if each.variant == variant]
    return found


def test_every_number_of_a_line_matches_its_heading() -> None:
    ours = line("ours")
    assert ours.seeds == 3
    assert ours.base == pytest.approx(0.5)
    assert ours.last == pytest.approx((1.0 + 0.9 + 0.6) / 3)
    assert ours.last_five == pytest.approx((0.93 + 0.924 + 0.55) / 3)
    assert ours.last_five_lowest == 0.5
    assert ours.solved == [3000, 2000, float("inf")]
    assert ours.steps_to_solve == 3000
    assert ours.lowest == pytest.approx((-0.1 + 0.0 + 0.0) / 3)
    assert ours.lowest_acting == pytest.approx(-0.2)
    assert ours.paper == 1.0
    assert ours.interval == bootstrap_interval(np.array([1.0, 0.9, 0.6]))


def test_a_single_seed_has_the_interval_of_its_episodes() -> None:
    assert line("theirs").interval == wilson_interval(70, 100)
    assert line("theirs").steps_to_solve == float("inf")


def test_trials_that_did_not_finish_are_in_the_table_and_marked() -> None:
    table = markdown(ROWS)
    assert "1 of 3 unfinished" in next(each for each in table.splitlines() if "| ours |" in each)
    broken = next(each for each in table.splitlines() if "| broken |" in each)
    assert "1 of 1 failed" in broken
    assert "nan" not in table
    assert len({each.count("|") for each in table.splitlines()}) == 1


def test_a_seed_that_has_only_just_begun_leaves_the_others_their_lowest() -> None:
    rows = [*trial("push", "ours", 0, [0.5, 0.9]), *trial("push", "ours", 1, [0.5], state="unfinished")]
    (line,) = compare_variants(rows)
    assert (line.seeds, line.acting) == (2, [0.3])
    assert line.lowest_acting == pytest.approx(0.3 - line.base)


def test_the_order_of_rows_changes_nothing_within_a_line() -> None:
    shuffled = [ROWS[index] for index in np.random.default_rng(0).permutation(len(ROWS))]
    again = {each.variant: each for each in compare_variants(shuffled)}
    for each in compare_variants(ROWS):
        other = again[each.variant]
        assert sorted(other.solved) == sorted(each.solved)
        numbers = [other.last, other.last_five, other.lowest, other.base]
        np.testing.assert_allclose(numbers, [each.last, each.last_five, each.lowest, each.base])


def test_the_interquartile_mean_is_that_of_the_middle_half() -> None:
    assert iqm([np.array([0.0, 0.2, 0.4]), np.array([0.6, 0.9])]) == pytest.approx(0.4)  # of 0, .2, .4, .6, .9
    assert iqm([np.array([0.0, 1.0, 1.0, 1.0])]) == 1.0


def test_seeds_are_resampled_within_their_task_alone() -> None:
    """No chance is left where all seeds of each task agree, however far the tasks lie apart."""
    assert iqm_interval([np.full(3, 0.2), np.full(3, 0.8)]) == pytest.approx((0.5, 0.5))


def test_an_interval_of_the_mean_has_about_its_nominal_coverage() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(60):
        low, high = bootstrap_interval(rng.normal(0.5, 0.1, size=30))
        covered.append(low <= 0.5 <= high)
    assert 0.85 <= np.mean(covered) <= 1.0


def test_the_overall_score_needs_a_variant_in_every_task() -> None:
    rows = [row for task in ("push", "hook") for seed in (0, 1) for row in trial(task, "ours", seed, [0.5, 0.8 + 0.1 * seed])]
    rows += [row for seed in (0, 1) for row in trial("push", "theirs", seed, [0.5, 0.9])]
    assert overall(ROWS) == []
    ((name, value, (low, high)),) = overall(rows)
    assert (name, value) == ("ours", pytest.approx(0.85))
    assert 0.8 <= low <= value <= high <= 0.9


def by_return(variant: str, seed: int, returns: list[float]) -> list[dict[str, Any]]:
    """A trial of a task where nothing ever succeeds."""
    rows = trial("pusher", variant, seed, [0.0] * len(returns), measured_by="return", base_mean_return=-80.0)
    numbers = [{"mean_return": value, "return_low": value - 2, "return_high": value + 3} for value in returns]
    bases = {"base_return_low": "-82.0", "base_return_high": "-78.0"}
    return [row | {name: str(value) for name, value in added.items()} | bases for row, added in zip(rows, numbers, strict=True)]


RETURNS = [
    *by_return("ours", 0, [-80.0, -95.5, -60.0]),
    *by_return("ours", 1, [-80.0, -70.0]),
    *by_return("theirs", 0, [-75.0]),
]


def test_a_task_measured_by_its_return_is_reported_in_returns() -> None:
    ours, theirs = compare_variants(RETURNS)
    assert (ours.by_return, ours.base, ours.last) == (True, -80.0, -65.0)
    assert (ours.last_five_lowest, ours.lowest) == (-95.5, pytest.approx((-15.5 + 0.0) / 2))
    assert ours.solved == []
    assert theirs.interval == (-77.0, -72.0)
    table = markdown(ROWS + RETURNS)
    (line,) = [each for each in table.splitlines() if "| pusher | theirs |" in each]
    assert "| -80 | -75 | -77 to -72 |" in line
    assert "| +5 |" in line
    assert "nan" not in table
    assert "inf" not in table


def test_returns_are_left_out_of_the_overall_score() -> None:
    rows = [row for task in ("push", "hook") for seed in (0, 1) for row in trial(task, "ours", seed, [0.5, 0.8])]
    assert overall(rows + RETURNS) == overall(rows)


def test_a_trial_that_failed_before_it_knew_what_its_world_is_measured_by_changes_nothing_for_the_others() -> None:
    failed = trial("pusher", "ours", 2, [], state="failed")
    (ours, _), (alone, _) = compare_variants([*failed, *RETURNS]), compare_variants(RETURNS)
    assert ours.remark == "1 of 3 failed"
    assert (ours.by_return, ours.base, ours.lasts, ours.lowest) == (alone.by_return, alone.base, alone.lasts, alone.lowest)
    rows = [row for task in ("push", "hook") for seed in (0, 1) for row in trial(task, "ours", seed, [0.5, 0.8])]
    assert overall([*failed, *rows, *RETURNS]) == overall(rows) != []


def test_the_line_of_a_random_base_is_the_mean_over_the_seeds() -> None:
    rates = {0: 0.50, 1: 0.62, 2: 0.56}
    rows = [row for seed, base in rates.items() for row in trial("push", "ours", seed, [0.7, 0.8], base_success_rate=base)]
    (axis,) = learning_curve(rows).axes
    (base,) = [drawn for drawn in axis.lines if drawn.get_linewidth() == 1.4]
    assert base.get_ydata() == pytest.approx([0.56, 0.56])


def test_returns_have_a_panel_with_their_own_scale() -> None:
    success, returns = learning_curve(ROWS + RETURNS).axes
    assert success.get_ylim()[0] == 0
    assert returns.get_ylim()[0] < -90


def texts(rows: list[dict[str, Any]]) -> list[str]:
    return [text.get_text() for axis in learning_curve(rows).axes for text in axis.texts]


def test_a_figure_names_variants_marks_the_unfinished_and_shows_the_initial_policy_as_the_base() -> None:
    names = texts(ROWS)
    assert "ours (1 of 3 not finished)" in names
    assert "theirs" in names
    assert "base" in names
    assert not any("initial" in name or "broken" in name for name in names)
    assert "theirs (1 of 2 not finished)" in texts([*ROWS, *trial("push", "theirs", 1, [], state="failed")])


def test_a_published_number_is_a_dotted_line() -> None:
    dotted = [each for each in learning_curve(ROWS).axes[0].lines if each.get_linestyle() == ":"]
    assert [each.get_ydata()[0] for each in dotted] == [1.0]  # type: ignore[index]


def test_a_variant_has_one_colour_in_all_panels() -> None:
    rows = ROWS + [row for seed in (0, 1) for row in trial("hook", "theirs", seed, [0.5, 0.9])]
    rows += trial("hook", "ours", 0, [0.5, 0.8])
    colors: dict[str, set[Any]] = {}
    for axis in learning_curve(rows).axes:
        for text in axis.texts:
            colors.setdefault(text.get_text().split(" (")[0], set()).add(text.get_color())
    assert {name: len(found) for name, found in colors.items()} == {"ours": 1, "theirs": 1, "base": 1}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_rows(tmp_path / "results.csv", RESULT_COLUMNS, ROWS)
    return tmp_path / "results.csv"


def test_a_page_holds_every_line_of_the_table_and_needs_nothing_outside_itself(results: Path) -> None:
    text = write_study_report(results).read_text()
    assert (results.parent / "report.html").exists()
    cells = re.findall(r"<td>(.*?)</td>", text)
    for each in compare_variants(ROWS):
        assert each.variant in cells
    assert "1 unfinished, 1 failed" in text
    assert "ours (1 of 3 not finished)" in text
    assert "Learning curves" in text
    assert "<script" not in text
    assert "http" not in re.sub(
        r"http://www.w3.org|http://purl.org|http://creativecommons.org|https://matplotlib.org/", "", text
    )


def test_the_same_rows_are_the_same_figure(results: Path, tmp_path: Path) -> None:
    one, other = (write_study_report(results, tmp_path / name) for name in ("one.svg", "other.svg"))
    assert one.read_bytes() == other.read_bytes()


def test_the_committed_results_can_be_read() -> None:
    for path in (Path(__file__).parents[1] / "studies").glob("*/results.csv"):
        rows = read_results(path)
        whole = {(row["task"], row["variant"]) for row in rows} - {
            (row["task"], row["variant"]) for row in rows if row["state"] != "finished"
        }
        assert whole
        assert {(each.task, each.variant) for each in compare_variants(rows) if each.remark == ""} == whole


def test_what_is_no_result_is_named(tmp_path: Path, results: Path) -> None:
    (tmp_path / "other.csv").write_text("step,success_rate\n0,0.5\n")
    with pytest.raises(RunError, match=r"other\.csv holds no results of a study: it lacks study"):
        read_results(tmp_path / "other.csv")
    with pytest.raises(ResidualRLError, match=r"not '\.txt'"):
        write_study_report(results, tmp_path / "report.txt")


MANY = [
    row
    for number, variant in enumerate(["default", *(f"without-{letter}" for letter in "abcdefg")])
    for seed in (0, 1)
    for row in trial("push", variant, seed, [0.5, 0.9 - 0.1 * number + 0.04 * seed])
]
"""Eight variants on a task: more than there are colours."""


def test_more_variants_than_colours_are_dots() -> None:
    assert too_many_for_curves(MANY)
    assert not too_many_for_curves(ROWS)
    last, acting = dot_plot(MANY + trial("push", "initial", 0, [0.5], method="initial")).axes
    names = [label.get_text() for label in last.get_yticklabels()]
    assert names == ["default", *(f"without-{letter}" for letter in "abcdefg")]
    means = [np.ravel(line.get_xdata())[0] for line in last.lines if line.get_markersize() == 6 and line.get_marker() == "o"]
    np.testing.assert_allclose(means, [0.92 - 0.1 * number for number in range(8)])
    base, first = last.lines[:2]
    assert [np.ravel(line.get_xdata())[0] for line in (base, first)] == [BASE, pytest.approx(0.92)]
    seeds = [line.get_xdata() for line in acting.lines if line.get_markersize() == 3]
    assert all(np.array_equal(each, [0.3, 0.3]) for each in seeds)


def test_dots_mark_unfinished_trials_and_failed_trials_have_a_line_without_dots() -> None:
    rows = MANY + trial("push", "half", 0, [0.5, 0.7], state="unfinished") + trial("push", "broken", 0, [], state="failed")
    last, _ = dot_plot(rows).axes
    names = [label.get_text() for label in last.get_yticklabels()]
    assert names[-2:] == ["half (1 of 1 unfinished)", "broken (1 of 1 failed)"]
    assert dot_plot([]).axes == []


def test_dots_of_returns_have_their_own_scale_and_nothing_while_learning() -> None:
    (axis,) = dot_plot(RETURNS).axes
    assert axis.get_xlim()[0] < -80


def test_a_study_of_many_variants_is_drawn_as_dots_in_page_and_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "results.csv", RESULT_COLUMNS, MANY)
    page = write_study_report(tmp_path / "results.csv").read_text()
    assert "Filled: mean over seeds" in page
    assert "lowest over 100 training episodes" in page
    figure = write_study_report(tmp_path / "results.csv", tmp_path / "many.svg")
    assert figure.stat().st_size > 5000
