"""The worlds of the study `proof`: environments, controllers and their imperfections work, and a world can be improved."""

import csv
import importlib.util
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from test_study import dotted
from tiny import TINY

from residual_rl.controllers import per_lane
from residual_rl.custom.first_episodes import DISTURBED
from residual_rl.errors import ResidualRLError
from residual_rl.runs.reading import read_verdict
from residual_rl.seeds import MAX_EPISODES, Purpose, evaluation_seeds, training_seed
from residual_rl.spaces import layout_of
from residual_rl.studies.attempt import run_trial
from residual_rl.studies.estimate import estimates
from residual_rl.studies.results import collect_results, read_results
from residual_rl.studies.trial import Study, Trial
from residual_rl.studies.trial_directory import TrialState, begin, confirm, end
from residual_rl.studies.worlds import WORLDS, locomotion
from residual_rl.studies.worlds.imperfections import Biased, Delayed, Miscalibrated, Noisy, Weak

ROOT = Path(__file__).parents[1]
FEW = {"episodes_per_cycle": 2, "evaluation_episodes": 4, "verdict_episodes": 8}
TRIAL = Trial("pendulum", "tiny", seed=0, steps=800, fields=dotted(TINY) | FEW)


def double(observation: np.ndarray) -> np.ndarray:
    return 2.0 * observation


# ---- what is done to controllers ----


def test_a_delayed_controller_returns_the_action_of_some_steps_ago() -> None:
    late = Delayed(double, 2)
    said = [float(late(np.array([value]))[0]) for value in (1.0, 2.0, 3.0, 4.0, 5.0)]
    assert said == [2.0, 2.0, 2.0, 4.0, 6.0]
    late.reset()
    assert late(np.array([7.0])) == 14.0


def test_late_controllers_of_different_lanes_keep_to_themselves() -> None:
    late = per_lane(lambda: Delayed(double, 1))
    late.reset(np.ones(2, dtype=bool))
    late(np.array([[1.0], [10.0]]))
    assert late(np.array([[2.0], [20.0]])).tolist() == [[2.0], [20.0]]


def test_gain_bias_and_shift_have_the_given_size() -> None:
    shown = np.array([1.0, 3.0])
    assert Weak(double, np.array([0.5, 1.0]))(shown).tolist() == [1.0, 6.0]
    assert Biased(double, np.array([0.0, -1.0]))(shown).tolist() == [2.0, 5.0]
    assert Miscalibrated(double, np.array([0.0, 1.0]))(shown).tolist() == [2.0, 8.0]
    assert shown.tolist() == [1.0, 3.0]


def test_noise_has_its_deviation_and_no_mean() -> None:
    noisy = Noisy(double, 0.5)
    said = np.concatenate([noisy(np.zeros(100)) for _ in range(100)])
    assert abs(said.mean()) < 0.02  # its deviation is 0.005
    assert abs(said.std() - 0.5) < 0.02


# ---- the worlds ----


def needed(name: str) -> None:
    """Skips where a package is not there."""
    for package in WORLDS[name].needs:
        pytest.importorskip(package)
    if name.startswith("fetch-") and tuple(map(int, version("mujoco").split(".")[:2])) >= (3, 12):
        pytest.skip("the environments of gymnasium-robotics 1.4 cannot be made on MuJoCo 3.12 or later")


@pytest.mark.filterwarnings("ignore")  # other people's packages warn of each other
@pytest.mark.parametrize("name", WORLDS)
def test_a_world_starts_by_its_seed_and_accepts_the_actions_of_its_controller(name: str) -> None:
    needed(name)
    world = WORLDS[name]
    env, controller = world.make(), world.controller()
    layout = layout_of(env.observation_space, env.action_space)
    starts = [layout.flatten(env.reset(seed=seed)[0]) for seed in (5, 6, 5)]
    flat = [np.concatenate([start["observation"], start["desired_goal"]]) for start in starts]
    np.testing.assert_array_equal(flat[0], flat[2])
    assert not np.array_equal(flat[0], flat[1])
    shown, _ = env.reset(seed=5)
    if callable(getattr(controller, "predict", None)):
        action = controller.predict(shown)[0]
    elif getattr(controller, "takes_batch", False):
        action = controller(np.asarray(shown)[None])[0]
    else:
        action = controller(shown)
    assert action.shape == env.action_space.shape
    bounds = env.action_space
    following, reward, terminated, truncated, _ = env.step(np.clip(action, bounds.low, bounds.high).astype(bounds.dtype))  # type: ignore[attr-defined]
    assert np.isfinite(layout.flatten(following)["observation"]).all()
    assert np.isfinite(reward)
    assert not terminated
    assert not truncated
    env.close()


@pytest.mark.filterwarnings("ignore")
def test_meta_world_shows_the_goal_and_its_sparse_reward_ends_with_success() -> None:
    """By itself it would show zeros in the goal's place."""
    pytest.importorskip("metaworld")
    from residual_rl.studies.worlds.meta_world import MetaWorld, scripted

    env, script = MetaWorld("push", sparse=True), scripted("push")
    goals = [env.reset(seed=seed)[0][-3:] for seed in (0, 1)]
    assert (goals[0] != 0.0).all()
    assert not np.array_equal(*goals)
    shown, steps, terminated, info = env.reset(seed=0)[0], 0, False, {}
    while not terminated and steps < 150:
        shown, reward, terminated, _, info = env.step(script(shown).astype(np.float32))
        steps += 1
        assert reward == -1.0
    assert info["success"]


def test_the_half_trained_policy_is_small_enough_to_be_kept() -> None:
    for path in locomotion.FOLDER.glob("*.safetensors"):
        assert path.stat().st_size < 1e6


def test_seeds_of_all_purposes_are_apart() -> None:
    first = {purpose: evaluation_seeds(purpose, MAX_EPISODES) for purpose in Purpose if purpose < Purpose.PROBE}
    ends = [seed for seeds in first.values() for seed in (seeds[0], seeds[-1])]
    assert ends == sorted(ends)
    assert len(set(ends)) == len(ends)
    assert ends[-1] < Purpose.PROBE < DISTURBED < Purpose.PREPARATION < training_seed(0, 0)
    assert len(Purpose.__members__) == len(Purpose)  # equal numbers would be one purpose under two names


# ---- they are improved ----


@pytest.fixture(scope="module")
def improved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("proof")
    begin(TRIAL, out / TRIAL.name)
    run_trial(TRIAL, out / TRIAL.name)
    end(out / TRIAL.name, TrialState.FINISHED)
    collect_results(Study("proof", "", (TRIAL,)), out)
    return out


def test_a_world_is_improved_and_its_results_have_its_measure(improved: Path) -> None:
    rows = read_results(improved / "results.csv")
    assert {(row["task"], row["measured_by"], row["controller"]) for row in rows} == {("pendulum", "return", "swing_up")}
    (verdict,) = read_rows_of(improved)
    assert verdict["again"] == ""
    assert float(verdict["base_return_low"]) <= float(verdict["base_return"]) <= float(verdict["base_return_high"]) < 0.0


def test_a_promoted_policy_has_a_second_comparison_in_the_verdicts(improved: Path, tmp_path: Path) -> None:
    out = shutil.copytree(improved, tmp_path / "proof")
    again = replace(read_verdict(out / TRIAL.name / "run"), difference=-2.0, difference_interval=(-3.0, -1.0))
    confirm(again, out / TRIAL.name)
    collect_results(Study("proof", "", (TRIAL,)), out)
    (verdict,) = read_rows_of(out)
    assert (verdict["again"], verdict["again_low"], verdict["again_high"]) == ("-2.0", "-3.0", "-1.0")
    told = script().summary([verdict | {"promoted": "1"}], [])
    assert "worse than the base in the second test: 1 of 1" in told


def test_a_world_is_improved_over_its_own_controller_alone() -> None:
    with pytest.raises(ResidualRLError, match="its own controller"):
        replace(TRIAL, method="scratch").config()


def test_a_world_is_tried_to_tell_how_long_it_will_take(tmp_path: Path) -> None:
    trials = [TRIAL, replace(TRIAL, steps=2 * TRIAL.steps)]
    found = estimates(trials, trials, tmp_path)
    less, more = (each.hours for each in found.values())
    assert 0.0 < less < more < 1.0


def test_runs_that_never_came_to_a_verdict_stand_in_the_table(improved: Path) -> None:
    (verdict,) = read_rows_of(improved)
    failed = {"task": "hopper", "variant": TRIAL.variant, "seed": "1", "steps": "300000", "state": "failed"}
    page = script()
    assert page.without_verdict([verdict], [verdict, failed, failed]) == [failed]
    table = page.table([verdict], [failed])
    assert "| hopper | | 1 | 300,000 | | | failed | |" in table
    assert "Runs without a verdict: 1." in table


def test_the_figure_draws_every_run(improved: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    script().draw(read_rows_of(improved), tmp_path / "proof.svg")
    assert "pendulum" in (tmp_path / "proof.svg").read_text()


def read_rows_of(improved: Path) -> list[dict[str, str]]:
    with (improved / "verdicts.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def script() -> ModuleType:
    """`studies/proof.py`."""
    found = importlib.util.spec_from_file_location("proof_script", ROOT / "studies" / "proof.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
