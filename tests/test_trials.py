"""Trials as plain data, and the selection of trials."""

import json
from typing import Any

import pytest

from residual_rl.cli.study import parse_seeds
from residual_rl.errors import ResidualRLError
from residual_rl.learning.ddpg import DDPG
from residual_rl.studies import STUDIES
from residual_rl.studies.trial import INITIAL, Trial, chosen


@pytest.mark.parametrize("name", STUDIES)
def test_every_trial_of_a_study_is_valid_and_distinct(name: str) -> None:
    trials = STUDIES[name].trials
    assert len({trial.name for trial in trials}) == len(trials)
    for trial in trials:
        assert trial.config().seed == trial.seed
        assert Trial(**json.loads(json.dumps(trial.to_json()))) == trial
    lines = {(trial.task, trial.variant) for trial in trials}
    assert lines >= STUDIES[name].paper.keys()
    assert {task for task, _ in lines} >= {task for tasks in STUDIES[name].figures.values() for task in tasks}


def test_a_line_of_a_study_has_one_kind_of_trial() -> None:
    """What differs in more than its seed must have another name, or a mean would be over unlike things."""
    for each in STUDIES.values():
        kinds: dict[tuple[str, str], set[str]] = {}
        for trial in each.trials:
            kinds.setdefault((trial.task, trial.variant), set()).add(trial.kind)
        assert all(len(kind) == 1 for kind in kinds.values())


GRID = [
    Trial("push", "initial", seed=0, steps=1, method=INITIAL),
    *(Trial(task, variant, seed, steps=100) for seed in (0, 1) for task in ("push", "hook") for variant in ("ours", "theirs")),
]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("hook", ["hook/ours/seed-0", "hook/theirs/seed-0", "hook/ours/seed-1", "hook/theirs/seed-1"]),
        ("ours", ["push/ours/seed-0", "hook/ours/seed-0", "push/ours/seed-1", "hook/ours/seed-1"]),
        ("push/th*", ["push/theirs/seed-0", "push/theirs/seed-1"]),
        ("*/seed-1", [trial.name for trial in GRID if trial.seed == 1]),
    ],
)
def test_a_pattern_is_a_task_a_variant_or_both(pattern: str, names: list[str]) -> None:
    assert [trial.name for trial in chosen(GRID, [pattern])] == names


def test_a_pattern_without_a_match_raises_an_error_that_lists_the_trials() -> None:
    with pytest.raises(ResidualRLError, match=r"'slippery' names no trial .*push/initial, push/ours"):
        chosen(GRID, ["slippery"])


def test_other_seeds_replace_those_of_the_learning_trials_alone() -> None:
    seeds = [(trial.variant, trial.seed) for trial in chosen(GRID, ["push"], seeds=[5, 6])]
    assert seeds == [("initial", 0), ("ours", 5), ("theirs", 5), ("ours", 6), ("theirs", 6)]


def test_a_pattern_may_name_a_selected_seed_and_no_other() -> None:
    assert [trial.name for trial in chosen(GRID, ["push/ours/seed-7"], seeds=[7])] == ["push/ours/seed-7"]
    with pytest.raises(ResidualRLError, match=r"'push/ours/seed-0' names no trial of this study, or none with these seeds"):
        chosen(GRID, ["push/ours/seed-0"], seeds=[5])


def test_a_budget_is_every_learning_trials() -> None:
    assert {(trial.method, trial.steps) for trial in chosen(GRID, steps=7)} == {("rpl", 7), (INITIAL, 1)}


def test_from_scratch_there_is_no_controller_to_improve() -> None:
    assert Trial("push", "scratch", 0, 100, method="scratch").config().controller == "zero"
    with pytest.raises(ResidualRLError, match="without a controller, not over 'discrete-mpc'"):
        Trial("push", "scratch", 0, 100, controller="discrete-mpc", method="scratch").config()


@pytest.mark.parametrize(("text", "seeds"), [("0-2", [0, 1, 2]), ("3", [3]), ("0,4-5", [0, 4, 5]), ("1,0-1,1", [1, 0])])
def test_seeds_are_read_as_ranges(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "2-", "-1", "3-1"])
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ResidualRLError, match="--seeds must be like"):
        parse_seeds(text)


def test_far_too_many_seeds_are_refused() -> None:
    with pytest.raises(ResidualRLError, match="more than 10000 seeds"):
        parse_seeds("0-9999999999")


def test_the_published_preset_has_the_published_settings_of_each_task() -> None:
    def settings(task: str, **fields: Any) -> tuple[int, float, int]:
        config = Trial(task, "silver2018", 0, 1, preset="silver2018", fields=fields).config()
        assert isinstance(config.algorithm, DDPG)
        return config.episodes_per_cycle, config.algorithm.noise, config.algorithm.frames

    assert settings("slippery-push") == (8, 0.2, 1)
    assert settings("hook") == settings("complex-hook") == (4, 0.1, 1)
    assert settings("noisy-hook") == settings("noisy-hook-as-described") == (4, 0.1, 2)
    assert settings("mbrl-pusher") == (2, 0.2, 1)
    assert settings("noisy-hook", **{"algorithm.noise": 0.3}) == (4, 0.3, 2)
