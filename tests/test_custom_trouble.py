"""Environments that users bring and that are odd, or fail: what is wrong is named, and nothing else is lost."""

import sys
from itertools import count
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from worlds import BUDGET, Aim

import residual_rl
from residual_rl.controllers import TableController
from residual_rl.errors import ResidualRLError, WorldError


def test_a_table_speaks_the_environments_units() -> None:
    asked: list[float] = []

    class Taps(Aim):
        def step(self, action: np.ndarray) -> Any:
            asked.append(float(action[0]))
            return super().step(action)

    table = TableController(np.zeros((1, 1)), np.array([[5.0]]))
    residual_rl.evaluate(Taps, table, horizon=10, episodes=3, tell=lambda line: None)
    assert set(asked) == {5.0}


def test_environments_that_show_different_things_are_refused() -> None:
    numbers = count()

    def make() -> Aim:
        env = Aim()
        if next(numbers) > 2:
            env.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        return env

    with pytest.raises(ResidualRLError, match=r"observation spaces of the environments differ: .*\(1,\).*\(2,\)"):
        residual_rl.evaluate(make, Aim.off_by(0.0), horizon=10, episodes=3, tell=lambda line: None)


def test_fractions_are_not_cut_off_where_whole_numbers_were_promised() -> None:
    class Whole(Aim):
        observation_space = spaces.Box(-1, 1, (1,), np.int64)

    with pytest.raises(WorldError, match=r"holds -?0\.\d+, its space says whole numbers"):
        residual_rl.evaluate(Whole, Aim.off_by(0.0), horizon=10, episodes=3, tell=lambda line: None)


@pytest.mark.parametrize(
    ("reward", "success", "complaint"),
    [
        (np.array([-1.0]), np.array([True]), ""),
        (np.float32(-1.0), None, ""),
        (None, True, "reward is None, not one number"),
        (-1.0, np.array([True, False]), r"is_success is array\(\[ True, False\]\), not one number"),
        (-1.0, "false", "is_success is 'false', not one number"),
    ],
)
def test_rewards_and_flags_are_numbers(reward: Any, success: Any, complaint: str) -> None:
    class Odd(Aim):
        def step(self, action: np.ndarray) -> Any:
            shown, _, terminated, truncated, _ = super().step(action)
            return shown, reward, np.array([terminated]), truncated, {"is_success": success}

    def evaluated() -> Any:
        return residual_rl.evaluate(Odd, Aim.off_by(0.0), horizon=10, episodes=3, tell=lambda line: None)

    if complaint:
        with pytest.raises(WorldError, match=complaint):
            evaluated()
    else:
        assert evaluated().base.success_rate == float(success is not None)


def test_a_success_that_is_not_a_number_is_none() -> None:
    class Unsure(Aim):
        def step(self, action: np.ndarray) -> Any:
            return *super().step(action)[:4], {"is_success": np.nan}

    for env in (Unsure, SyncVectorEnv([Unsure] * 3)):
        evaluated = residual_rl.evaluate(env, Aim.off_by(0.0), horizon=10, episodes=3, tell=lambda line: None)
        assert evaluated.base.success_rate == 0.0


def test_of_a_vector_environment_that_raises_the_other_batches_count() -> None:
    class Fails(Aim):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            shown = super().reset(seed=seed, options=options)
            self.fails_at = self.steps if seed == 7 else None
            return shown

    vector = SyncVectorEnv([lambda: Fails(tells_success=True)] * 4)
    with pytest.warns(RuntimeWarning, match="4 of 32 episodes broke and count as failures: step 0 raised RuntimeError: cable"):
        assert residual_rl.evaluate(vector, Aim.off_by(0.0), horizon=10, episodes=32).base.success_rate == 1 - 4 / 32


def test_what_closing_raises_does_not_hide_what_came_of_it() -> None:
    class Stuck(Aim):
        def close(self) -> None:
            raise AttributeError("viewer")

    with pytest.warns(RuntimeWarning, match="closing an environment raised AttributeError: viewer"):
        residual_rl.evaluate(Stuck, Aim.off_by(0.0), horizon=10, episodes=3, tell=lambda line: None)


def test_an_environment_that_cannot_be_made_is_named_and_the_others_are_closed() -> None:
    class Port(Aim):
        open_ = 0

        def __init__(self) -> None:
            if Port.open_ == 3:
                raise OSError("address already in use")
            super().__init__()
            Port.open_ += 1

        def close(self) -> None:
            Port.open_ -= 1

    with pytest.raises(WorldError, match="making the environment 'Port' raised OSError: address already in use"):
        residual_rl.evaluate(Port, Aim.off_by(0.0), horizon=10, episodes=3, tell=lambda line: None)
    assert Port.open_ == 0


def test_a_module_that_registers_an_environment_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aim_world.py").write_text(
        "import gymnasium, worlds\ngymnasium.register('AimOfAModule-v0', worlds.Aim, max_episode_steps=10)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    residual_rl.evaluate("aim_world:AimOfAModule-v0", Aim.off_by(0.0), episodes=2, tell=lambda line: None)
    few = BUDGET | {"steps": 100, "evaluation_episodes": 4, "verdict_episodes": 4}
    run = residual_rl.improve("aim_world:AimOfAModule-v0", Aim.off_by(0.0), out=tmp_path / "run", **few)
    gymnasium.registry.pop("AimOfAModule-v0")  # as in another process, which has not imported it
    sys.modules.pop("aim_world")
    residual_rl.reevaluate(run, Aim.off_by(0.0), episodes=2)
    residual_rl.reevaluate(run, Aim.off_by(0.0), env="AimOfAModule-v0", episodes=2)
    with pytest.raises(WorldError, match="importing 'no_such_module' for 'no_such_module:Env-v0' raised ModuleNotFoundError"):
        residual_rl.evaluate("no_such_module:Env-v0", Aim.off_by(0.0), episodes=2)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"horizon": 2.5}, "horizon"),
        ({"horizon": 0}, "horizon"),
        ({"num_threads": -1}, "num_threads"),
        ({"episodes": "many"}, "episodes"),
    ],
)
def test_arguments_that_are_no_such_numbers_are_named(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ResidualRLError, match=complaint):
        residual_rl.evaluate(Aim, Aim.off_by(0.0), **({"horizon": 10, "episodes": 2} | arguments))
