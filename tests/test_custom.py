"""Environments that users bring: stepped as they are, counted as they are, and improved in."""

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from worlds import Aim

import residual_rl
from residual_rl.controllers.adapted import Adapted, Character
from residual_rl.custom.description import Description, Findings
from residual_rl.custom.inspection import look
from residual_rl.custom.opened import Opened
from residual_rl.custom.row_lanes import ProcessRows, RowLanes
from residual_rl.custom.vector_lanes import VectorLanes
from residual_rl.errors import ControllerError, ResidualRLError, UnknownName, WorldError
from residual_rl.evaluation import base_alone, roll_out
from residual_rl.presets import pace
from residual_rl.residual import Composition
from residual_rl.rollout import collect
from residual_rl.tasks.lanes import Lanes

SEEDS = list(range(40, 46))
BATCH = Character(True, False, False, False, True, 0.0)


def made(opened: Opened, lanes: int) -> Lanes:
    about = look(opened, Aim.off_by(0.0), lambda line: None)
    return opened.task(about, opened.fixed_lanes or lanes).open_lanes()


def described(opened: Opened, steps: float) -> Description:
    """As if it had been looked at."""
    findings = Findings("return", 1.0, False, steps, None)
    return Description(opened.name, opened.layout, opened.spec.horizon, findings, None)


def zero(observation: Any, base_action: np.ndarray, step: int) -> np.ndarray:
    return np.zeros_like(base_action)


def one_by_one(bias: float, seeds: list[int]) -> list[list[float]]:
    """The rewards of each episode, by a loop as anybody would write it."""
    env, controller, episodes = Aim(), Aim.off_by(bias), []
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        rewards, over = [], False
        while not over:
            action = controller(observation).clip(env.action_space.low, env.action_space.high)
            observation, reward, terminated, truncated, _ = env.step(action)
            rewards.append(reward)
            over = terminated or truncated
        episodes.append(rewards)
    return episodes


VECTORS = {mode: lambda mode=mode: SyncVectorEnv([Aim] * 6, autoreset_mode=mode) for mode in AutoresetMode}
WAYS: dict[str, Callable[[], Any]] = {"function": lambda: Aim, "instance": Aim} | {
    f"vector {mode.name}": make for mode, make in VECTORS.items()
}


@pytest.mark.parametrize("way", WAYS)
def test_episodes_end_when_they_end_however_the_environment_comes(way: str) -> None:
    opened = Opened(WAYS[way](), horizon=20)
    lanes = made(opened, 6)
    base = Adapted(Aim.off_by(0.7), opened.layout, BATCH)
    expected, found = one_by_one(0.7, SEEDS), []
    for start in range(0, 6, lanes.num_envs):
        episodes, dropped = collect(lanes, base, Composition(), zero, SEEDS[start : start + lanes.num_envs])
        assert dropped == []
        found += episodes
    assert len({len(rewards) for rewards in expected}) > 2
    for episode, rewards in zip(found, expected, strict=True):
        steps = episode.transitions
        np.testing.assert_allclose(steps.reward, rewards, rtol=1e-5)
        ends = steps.terminated | steps.truncated
        assert ends.tolist() == [False] * (len(rewards) - 1) + [True]
        assert np.array_equal(steps.next_observation["observation"][:-1], steps.observation["observation"][1:])
        assert np.array_equal(steps.next_base_action[:-1], steps.base_action[1:])
    assert {bool(episode.transitions.terminated[-1]) for episode in found} == {True, False}
    outcome = roll_out(lanes, base_alone(base, Composition(), 1), SEEDS[:5])
    np.testing.assert_allclose(outcome.returns, [sum(rewards) for rewards in expected[:5]], rtol=1e-5)
    opened.close()


def test_what_is_brought_stays_open_and_what_is_made_is_closed() -> None:
    closed = []

    class Noted(Aim):
        def close(self) -> None:
            closed.append(self)

    brought = Noted()
    with_instance, with_function = Opened(brought, 20), Opened(Noted, 20)
    made(with_instance, 1)
    made(with_function, 3)
    with_instance.close()
    assert closed == []
    with_function.close()
    assert len(closed) == 3


def test_a_function_must_make_a_new_environment_each_time() -> None:
    env = Aim()
    with pytest.raises(ResidualRLError, match="must make a new one each time"):
        residual_rl.evaluate(lambda: env, Aim.off_by(0.0), episodes=4, horizon=20, tell=lambda line: None)


def test_a_vector_environment_is_reset_once_an_episode() -> None:
    class Counted(SyncVectorEnv):
        resets = 0

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            self.resets += 1 if options is None else int(options["reset_mask"].sum())
            return super().reset(seed=seed, options=options)

    envs = Counted([Aim] * 3, autoreset_mode=AutoresetMode.DISABLED)
    opened = Opened(envs, 30)
    lanes = VectorLanes(envs, opened.layout, opened.spec)
    lanes.reset(seed=[1, 2, 3])
    ended = 0
    for _ in range(30):
        lanes.step(np.zeros((3, 1)))
        ended += int(lanes._ended.sum())
    assert ended - 3 <= envs.resets - 1 <= ended  # those that end with the last step are not begun again
    assert ended < 40


def test_an_episode_is_cut_at_the_horizon_that_was_passed() -> None:
    opened = Opened(Aim, horizon=4)
    episodes, _ = collect(made(opened, 6), Adapted(Aim.off_by(0.0), opened.layout, BATCH), Composition(), zero, SEEDS)
    lengths = [len(rewards) for rewards in one_by_one(0.0, SEEDS)]
    assert [len(episode.transitions.reward) for episode in episodes] == [min(length, 4) for length in lengths]
    assert all(episode.transitions.truncated[-1] for episode, length in zip(episodes, lengths, strict=True) if length > 4)


def test_a_time_limit_that_is_told_of_is_found() -> None:
    assert Opened("Pendulum-v1").horizon == 200
    assert Opened(lambda: gymnasium.wrappers.OrderEnforcing(gymnasium.wrappers.TimeLimit(Aim(), 7))).horizon == 7
    assert Opened("Pendulum-v1", horizon=50).horizon == 50
    assert Opened(Aim).horizon is None  # its first episodes show one, or it is refused then
    with pytest.raises(ResidualRLError, match="horizon must be at least 1"):
        Opened(Aim, horizon=0)


@pytest.mark.parametrize(
    ("env", "error", "complaint"),
    [
        ("NoSuchThing-v3", UnknownName, "NoSuchThing-v3.*push"),
        ("CartPole-v1", ResidualRLError, "CartPole-v1 cannot be used: the action space is Discrete"),
        (3, ResidualRLError, "env is a int"),
        (lambda: 3, ResidualRLError, "made a int, not a gymnasium.Env"),
        (lambda: 1 / 0, WorldError, "raised ZeroDivisionError"),
    ],
)
def test_what_is_no_environment_is_refused_with_the_reason(env: Any, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        residual_rl.improve(env, Aim.off_by(0.0))


def test_an_environment_needs_a_controller_and_processes_a_function() -> None:
    with pytest.raises(ControllerError, match="pass controller"):
        residual_rl.improve("Pendulum-v1")
    with pytest.raises(ResidualRLError, match=r"processes=True needs something that makes Aim"):
        residual_rl.improve(Aim(), Aim.off_by(0.0), horizon=20, processes=True)
    with pytest.raises(ResidualRLError, match="'push' is a task of the library"):
        residual_rl.improve("push", horizon=20)


def test_an_environment_that_raises_loses_that_episode_alone() -> None:
    envs = iter([Aim(), Aim(fails_at=2), Aim()])
    opened = Opened(lambda: next(envs), horizon=20)
    about = look(opened, Aim.off_by(0.0), lambda line: None)
    lanes = opened.task(about, 3).open_lanes()
    episodes, dropped = collect(lanes, Adapted(Aim.off_by(0.0), opened.layout, BATCH), Composition(), zero, SEEDS[:3])
    assert [len(episode.transitions.reward) for episode in episodes] == [len(one_by_one(0.0, SEEDS)[lane]) for lane in (0, 2)]
    assert dropped == ["step 2 raised RuntimeError: cable"]
    episodes, dropped = collect(lanes, Adapted(Aim.off_by(0.0), opened.layout, BATCH), Composition(), zero, SEEDS[:3])
    assert (len(episodes), dropped) == (3, [])


class Torn(Aim):
    """Fails in the second step of every episode, or of the first alone."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.always, self.torn = always, False

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.steps % 2 and (self.always or not self.torn):
            self.torn = True
            self.steps += 1
            raise RuntimeError("cable")
        return super().step(action)


def test_an_environment_that_fails_at_once_is_named() -> None:
    named = pytest.raises(WorldError, match="Torn fails in its first episodes: step 1 raised RuntimeError: cable")
    with closing(Opened(lambda: Torn(always=True), horizon=20)) as opened, named:
        look(opened, Aim.off_by(0.0), lambda line: None)


def test_an_episode_that_fails_among_the_first_is_not_looked_at() -> None:
    with closing(Opened(lambda: Torn(always=False), horizon=20)) as opened:
        assert look(opened, Aim.off_by(0.0), lambda line: None).findings.episode_steps > 2.0


class Engine(gymnasium.Env):
    """On above 0, off at 0; off is a success."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, low: float, high: float, dtype: type) -> None:
        self.action_space = spaces.Box(low, high, (1,), dtype)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.uniform(-1.0, 1.0, 1).astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, np.float32), -1.0, False, False, {"is_success": not action[0] > 0.0}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("low", "high"), [(-0.3, 4.0), (-0.2, 0.7), (-0.7, 0.2), (-1e-5, 3e-5)])
def test_what_a_base_says_arrives_as_it_was_said_whatever_the_bounds(low: float, high: float, dtype: type) -> None:
    idle = residual_rl.batched(lambda shown: np.zeros(1))
    found = residual_rl.evaluate(lambda: Engine(low, high, dtype), idle, episodes=4, horizon=5, tell=lambda line: None)
    assert found.base.success_rate == 1.0


class Undefined(Aim):
    """Shows NaN from its first step on."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        shown, *rest = super().step(action)
        return shown * np.nan, *rest  # type: ignore[return-value]


def test_an_environment_that_shows_nan_is_named() -> None:
    with pytest.raises(WorldError, match="Undefined fails in its first episodes: an observation or reward was not finite"):
        residual_rl.improve(Undefined, Aim.off_by(0.0), horizon=20, tell=lambda line: None)


def test_episodes_of_fifty_steps_have_the_defaults_and_longer_ones_as_many_updates_a_step() -> None:
    short, long = (pace(length, None, "default", 1_000_000) for length in (50.0, 1000.0))
    assert (short["episodes_per_cycle"], short["updates_per_cycle"], short["algorithm.burn_in.cycles"]) == (16, 320, 15)
    assert (short["evaluation_episodes"], short["verdict_episodes"]) == (100, 500)
    assert long["updates_per_cycle"] / (long["episodes_per_cycle"] * 1000) == 0.4
    assert long["evaluation_episodes"] * 1000 <= long["evaluation_interval"]


def test_success_is_measured_where_the_environment_tells_of_it() -> None:
    told = residual_rl.evaluate(lambda: Aim(True), Aim.off_by(0.2), episodes=40, horizon=20, tell=lambda line: None)
    assert (told.measured_by, told.base.success_rate) == ("success", 1.0)
    told = residual_rl.evaluate(lambda: Aim(True), Aim.off_by(0.4), episodes=40, horizon=20, tell=lambda line: None)
    assert (told.measured_by, told.base.success_rate) == ("success", 0.0)
    untold = residual_rl.evaluate(Aim, Aim.off_by(0.2), episodes=40, horizon=20, tell=lambda line: None)
    assert untold.measured_by == "return"


def test_success_in_a_vector_environment_is_that_of_the_last_step() -> None:
    for mode in AutoresetMode:
        envs = SyncVectorEnv([lambda: Aim(True)] * 4, autoreset_mode=mode)
        told = residual_rl.evaluate(envs, Aim.off_by(0.2), episodes=8, horizon=20, tell=lambda line: None)
        assert (told.measured_by, told.base.success_rate) == ("success", 1.0), mode
        assert isinstance(VectorLanes(envs, Opened(envs, 20).layout, Opened(envs, 20).spec).num_envs, int)


def test_pendulum_is_evaluated_by_its_id() -> None:
    def still(observation: np.ndarray) -> np.ndarray:
        return np.zeros((len(observation), 1))

    lines: list[str] = []
    found = residual_rl.evaluate("Pendulum-v1", still, episodes=8, tell=lines.append)
    assert -1800 < found.base.mean_return < -600
    assert lines[0].startswith("still proposes the same action for every observation, [0.]")
    assert lines[1].startswith("still: batched, deterministic, stateless, ")
    assert lines[2:] == ["Pendulum-v1: judged by its return, because the first episodes did not report info['is_success']"]


def test_each_environment_may_have_a_process_of_its_own() -> None:
    rewards = []
    for processes in (False, True):
        with closing(Opened("Pendulum-v1", 10, processes)) as opened:
            base = Adapted(lambda observation: 0 * observation[:, :1], opened.layout, BATCH)
            episodes, dropped = collect(opened.task(described(opened, 10.0), 2).open_lanes(), base, Composition(), zero, [1, 2])
            assert dropped == []
            rewards.append([episode.transitions.reward.tolist() for episode in episodes])
    assert rewards[0] == rewards[1]


def processes_of(lanes: Lanes) -> Sequence[Any]:
    assert isinstance(lanes, RowLanes)
    assert isinstance(lanes.rows, ProcessRows)
    return lanes.rows.processes


def test_ctrl_c_does_not_reach_the_processes_of_environments() -> None:
    """A terminal sends it to all of them."""
    with closing(Opened("Pendulum-v1", 5, processes=True)) as opened:
        lanes = opened.task(described(opened, 5.0), 2).open_lanes()
        base = Adapted(lambda shown: np.zeros((2, 1)), opened.layout, BATCH)
        signals = [process.pid for process in processes_of(lanes)]

        def act(observation: Any, base_action: np.ndarray, step: int) -> np.ndarray:
            if step == 2:
                for pid in signals:
                    os.kill(pid, signal.SIGINT)
            return np.zeros_like(base_action)

        episodes, dropped = collect(lanes, base, Composition(), act, [0, 1])
        assert (len(signals), len(episodes), dropped) == (2, 2, [])


@pytest.mark.parametrize(("victim", "within_a_step"), [(0, True), (1, False)])
def test_a_process_that_ends_by_itself_is_named_and_closed(victim: int, within_a_step: bool) -> None:
    """As where memory runs out: without an answer, and without waiting for one for ever."""

    class Mortal(Aim):
        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            self.dies = within_a_step and seed == victim
            return super().reset(seed=seed, options=options)

        def step(self, action: Any) -> Any:
            if self.dies:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().step(action)

    with closing(Opened(Mortal, 5, processes=True)) as opened:
        lanes = opened.task(described(opened, 5.0), 2).open_lanes()
        base = Adapted(lambda shown: np.zeros((2, 1)), opened.layout, BATCH)

        def act(observation: Any, base_action: np.ndarray, step: int) -> np.ndarray:
            if step == 2:
                os.kill(processes_of(lanes)[victim].pid, signal.SIGKILL)
            return np.zeros_like(base_action)

        for _ in range(2):  # it stays ended
            episodes, dropped = collect(lanes, base, Composition(), act, [0, 1])
            assert episodes == []
            assert dropped == ["a process of the environments has ended, as where memory runs out or a simulator crashes"] * 2
    assert not any(process.is_alive() for process in processes_of(lanes))


def test_a_process_that_ends_while_its_environment_is_made_is_named() -> None:
    here = os.getpid()

    class StillBorn(Aim):
        def __init__(self) -> None:
            super().__init__()
            if os.getpid() != here:
                os._exit(1)

    with closing(Opened(StillBorn, 5, processes=True)) as opened, pytest.raises(WorldError, match="process of the environm"):
        opened.task(described(opened, 5.0), 2)


@pytest.mark.parametrize("lanes", [1, 2])
def test_an_episode_that_cannot_start_is_a_failure_however_few_lanes_there_are(lanes: int) -> None:
    class Reluctant(Aim):
        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            if seed == 3:
                raise ValueError("not this one")
            return super().reset(seed=seed, options=options)

    with closing(Opened(Reluctant, 5, processes=False)) as opened:
        envs = opened.task(described(opened, 5.0), lanes).open_lanes()
        base = Adapted(lambda shown: np.zeros((lanes, 1)), opened.layout, BATCH)
        act = base_alone(base, Composition(), 1)
        whole = roll_out(envs, act, [1, 2, 3, 4])
        assert whole.returns[2] == -np.inf
        assert np.isfinite(whole.mean_return)
        assert np.argmin(whole.returns) == 2
        others = roll_out(envs, act, [1, 2, 4, 4])
        assert whole.returns[[0, 1, 3]].tolist() == others.returns[[0, 1, 3]].tolist()
        with pytest.raises(WorldError, match="not this one"):
            roll_out(envs, act, [3] * lanes)


def test_a_dictionary_without_goals_is_one_observation() -> None:
    class Parts(Aim):
        observation_space = spaces.Dict({"number": Aim.observation_space, "camera": spaces.Box(0, 255, (2, 2), np.uint8)})

        def _show(self) -> Any:
            return {"number": super()._show(), "camera": np.full((2, 2), 7, np.uint8)}

    def looks(observation: Any) -> np.ndarray:
        assert observation["camera"].dtype == np.uint8
        assert observation["camera"].shape[-2:] == (2, 2)
        return 1.0 + 2.0 * observation["number"]

    found = residual_rl.evaluate(Parts, looks, episodes=8, horizon=20, tell=lambda line: None)
    assert found.base.mean_return == pytest.approx(0.0, abs=1e-6)
