"""The base is taken away by and by: in the end a network acts alone, and the verdict compares it with the base."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import ROUNDING
from pydantic import ValidationError
from test_custom_runs import stop_after
from worlds import BUDGET, QUICK, Aim

import residual_rl
from residual_rl.bundles import runtime
from residual_rl.errors import ControllerError, Interrupted, ResidualRLError
from residual_rl.residual import Composition
from residual_rl.runs.reading import read_rows, read_verdict

BIAS = 2.0
ALONE = Composition(attenuation=(0.3, 0.7))
FIELDS: dict[str, Any] = BUDGET | {"algorithm": replace(QUICK, composition=ALONE), "steps": 5000}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "alone"
    residual_rl.improve(Aim, Aim.off_by(BIAS), out=path, **FIELDS)
    return path


def test_the_share_falls_from_all_to_nothing_between_the_two_ends() -> None:
    assert [ALONE.share(spent) for spent in (0.0, 0.3, 0.5, 0.7, 1.0)] == pytest.approx([1.0, 1.0, 0.5, 0.0, 0.0])
    assert Composition().share(1.0) == 1.0
    action = np.array([[0.5]])
    assert ALONE.beside(action).tolist() == [[0.0]]
    assert Composition().beside(action) is action


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attenuation": (0.7, 0.3)}, "end after it begins"),
        ({"attenuation": (0.3, 0.7), "scale": 0.5}, "scale of at least 1"),
        ({"attenuation": (0.3, 0.7), "scale": (1.0, 0.0)}, "scale of at least 1"),
        ({"attenuation": (0.3, 0.7), "actor_sees_base": True}, "actor_sees_base=False"),
        ({"attenuation": (0.3, 0.7), "critic_scores": "residual"}, "critic_scores='action'"),
        ({"attenuation": (0.3, 1.5)}, "less than or equal to 1"),
    ],
)
def test_what_a_network_alone_could_not_do_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Composition(**fields)


def test_the_network_alone_is_better_than_the_base_that_taught_it(finished: Path) -> None:
    assert read_verdict(finished).promoted
    found = residual_rl.reevaluate(finished, Aim.off_by(BIAS), env=Aim, episodes=128)
    assert found.better, found


def test_what_is_delivered_asks_no_controller(finished: Path, tmp_path: Path) -> None:
    shown = np.linspace(-0.8, 0.8, 9, dtype=np.float32)[:, None]
    policy = residual_rl.load(finished)
    actions = policy(shown)
    assert np.abs(actions - (1.0 + 2.0 * shown)).mean() < BIAS / 2
    with_base = residual_rl.load(finished, Aim.off_by(BIAS))
    np.testing.assert_array_equal(with_base(shown), actions)
    np.testing.assert_allclose(policy(shown[0]), actions[0], atol=4 * ROUNDING)

    residual_rl.export(finished, tmp_path / "bundle")
    bundle = runtime.load(tmp_path / "bundle")
    np.testing.assert_allclose(bundle(shown), actions, atol=1e-4)
    np.testing.assert_allclose(bundle(shown[0]), actions[0], atol=1e-4)
    np.testing.assert_allclose(bundle(shown, np.full((9, 1), 6.0)), actions, atol=1e-4)  # whatever a base proposes
    bundle.scale = 0.0
    with pytest.raises(ValueError, match="base_action is needed"):
        bundle(shown)
    assert bundle(shown, np.full((9, 1), 6.0)).tolist() == [[6.0]] * 9


def test_to_go_back_to_the_base_takes_the_controller_and_there_is_nothing_between(finished: Path) -> None:
    shown = np.zeros((1, 1), np.float32)
    policy = residual_rl.load(finished, Aim.off_by(BIAS))
    with pytest.raises(ResidualRLError, match="stands alone has no scale"):
        policy.scale = 0.5
    policy.scale = 0.0
    assert policy(shown).tolist() == [[1.0 + BIAS]]
    with pytest.raises(ResidualRLError, match="pass the controller"):
        residual_rl.load(finished).scale = 0.0
    with pytest.raises(ControllerError):
        residual_rl.load(finished, Aim.off_by(-1.0))


def test_a_run_that_was_stopped_on_the_way_goes_on_with_the_same_numbers(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    with pytest.raises(Interrupted):
        residual_rl.improve(Aim, Aim.off_by(BIAS), out=out, on_progress=stop_after(30), checkpoint_seconds=0.0, **FIELDS)
    step = read_rows(out / "metrics.csv")[-1]["step"]
    assert 0.3 < step / FIELDS["steps"] < 0.7  # while the base's share was falling
    residual_rl.improve(Aim, Aim.off_by(BIAS), out=out, **FIELDS)
    untimed = [
        [{key: value for key, value in row.items() if key != "wall_seconds"} for row in read_rows(path / "evaluations.csv")]
        for path in (finished, out)
    ]
    assert untimed[0] == untimed[1]
