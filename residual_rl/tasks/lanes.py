"""Anybody's environments, stepped together, with one episode each: what ends early is held until all have ended."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from warnings import catch_warnings, warn

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import AlreadyPendingCallError
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv

from residual_rl.errors import ResidualRLError, WorldError
from residual_rl.tasks.layout import Layout, layout_of
from residual_rl.types import Observation, Spec, map_observation

SUCCESS_KEYS = ("is_success", "success")
FLAGS = 3  # terminated, truncated, success
PATIENCE = 5.0  # seconds that a process has for an answer that it owes, or to end when it is told to

Stepped = tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class Lanes(Protocol):
    """What rollouts step: one episode in each lane, all started at once.

    The `info` of a step holds `is_success` `[E]` bool, and may hold `errors`, `{lane: what went wrong}`. A lane whose episode
    has ended shows the same again, with the same flags and success, and reward 0.
    """

    @property
    def num_envs(self) -> int:
        """How many."""
        ...

    @property
    def horizon(self) -> int:
        """Steps after which all have ended."""
        ...

    @property
    def task_spec(self) -> Spec:
        """Of the task."""
        ...

    def reset(self, *, seed: Any = None) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode in each lane, from seeds `[E]`."""
        ...

    def step(self, actions: np.ndarray) -> Stepped:
        """One action `[E, A]` in [-1, 1] in every lane."""
        ...

    def close(self) -> Any:
        """Frees what they hold."""
        ...


class RowEnv(gymnasium.Env):
    """An environment whose observation is one row of numbers: observation, both goals, terminated, truncated, success.

    It holds an episode that has ended. Gymnasium's vector environments refuse to step one that has, so the flags go into the
    row. What raises ends the episode with a row that is not finite.
    """

    def __init__(self, env: gymnasium.Env, layout: Layout, horizon: int):
        self.env = env
        self.layout = layout
        self.horizon = horizon
        self.tells_success = False
        """Whether it has ever said if an episode is a success."""
        width = layout.width + FLAGS
        self.observation_space = spaces.Box(-np.inf, np.inf, (width,), np.float64)
        self.action_space = env.action_space
        self._last = np.full(width, np.nan)
        """What it shows of an episode that has ended."""
        self._over = True
        self._elapsed = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """A new episode."""
        self._elapsed, self._over = 0, False
        row = np.zeros(self._last.shape)
        try:
            shown, _ = self.env.reset(seed=seed)
            self.layout.write(shown, row)
        except Exception as error:
            return row, self._broken(row, f"reset raised {type(error).__name__}: {error}")
        return row, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One action, as the environment takes it."""
        row = np.empty(self._last.shape)  # a new one each time: environments reuse their arrays
        reward, info = self.step_into(row, action)
        return row, reward, False, False, info

    def step_into(self, row: np.ndarray, action: np.ndarray) -> tuple[float, dict[str, Any]]:
        """The same, where the row is to be: its reward and info."""
        if self._over:
            row[:] = self._last
            return 0.0, {}
        try:
            shown, reward, terminated, truncated, info = self.env.step(action)
            reward = reward if type(reward) is float else _number("reward", reward)
            terminated = terminated if type(terminated) is bool else _flag("terminated", terminated)
            truncated = truncated if type(truncated) is bool else _flag("truncated", truncated)
            self._elapsed += 1
            self.layout.write(shown, row)
            truncated = truncated or (self._elapsed >= self.horizon and not terminated)
            row[-3], row[-2], row[-1] = terminated, truncated, self._success(info)
        except Exception as error:
            return np.nan, self._broken(row, f"step {self._elapsed} raised {type(error).__name__}: {error}")
        if terminated or truncated:
            self._over, self._last = True, row.copy()
        return reward, {}

    def _success(self, info: dict[str, Any]) -> bool:
        for key in SUCCESS_KEYS:
            if key in info:
                self.tells_success = True
                return info[key] if type(info[key]) is bool else _flag(key, info[key])
        return False

    def _broken(self, row: np.ndarray, reason: str) -> dict[str, Any]:
        row[:] = np.nan
        row[-FLAGS:] = 0.0, 1.0, 0.0
        self._over, self._last = True, row.copy()
        return {"error": reason}

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()


class SerialRows:
    """`RowEnv`s in this process, stepped one after the other.

    To `RowLanes` what an `AsyncVectorEnv` is. Gymnasium's `SyncVectorEnv` would be it too, but copies each observation three
    times and merges infos that are empty.
    """

    def __init__(self, envs: Sequence[RowEnv]):
        self.envs = envs
        self.num_envs = len(envs)
        self._width = envs[0].layout.width + FLAGS

    def reset(self, *, seed: Sequence[int] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Rows `[E, O + 2 G + 3]` at the start of an episode in each lane."""
        seeds = [None] * self.num_envs if seed is None else seed
        rows, infos = zip(*(env.reset(seed=each) for env, each in zip(self.envs, seeds, strict=True)), strict=True)
        return np.stack(rows), _merged(infos)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, None, None, dict[str, Any]]:
        """Rows and rewards `[E]` after one action each, as the environments take them."""
        rows = np.empty((self.num_envs, self._width))
        lanes = zip(self.envs, rows, actions, strict=True)
        reward, infos = zip(*[env.step_into(row, action) for env, row, action in lanes], strict=True)
        return rows, np.array(reward), None, None, _merged(infos)

    def close(self) -> None:
        """Closes the environments."""
        for env in self.envs:
            close_quietly(env)


class RowLanes:
    """Environments stepped as `RowEnv`s: in this process, or by Gymnasium's vector environment in processes of their own."""

    def __init__(self, rows: VectorEnv | SerialRows, layout: Layout, spec: Spec):
        self.rows = rows
        self.layout = layout
        self.task_spec = spec
        self.horizon = spec.horizon
        self.num_envs = rows.num_envs

    def reset(self, *, seed: Sequence[int] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode in each lane.

        Raises:
            WorldError: a process has ended.
        """
        seeds: Any = None if seed is None else list(seed)
        with _noticing_death():
            rows, info = self.rows.reset(seed=seeds)
        return self.layout.split(rows), {"errors": _errors(info)}

    def step(self, actions: np.ndarray) -> Stepped:
        """One action `[E, A]` in [-1, 1] in every lane.

        Raises:
            WorldError: a process has ended.
        """
        with _noticing_death():
            rows, reward, _, _, info = self.rows.step(self.layout.to_world(actions))
        terminated, truncated, success = rows[:, -FLAGS:].T == 1.0
        return self.layout.split(rows), reward.copy(), terminated, truncated, {"is_success": success, "errors": _errors(info)}

    def close(self) -> None:
        """Does nothing: they are lent, and used again."""


class VectorLanes:
    """A vector environment that somebody brought. What follows a lane's first end is ignored, whatever its autoreset mode."""

    def __init__(self, envs: VectorEnv, layout: Layout, spec: Spec):
        self.envs = envs
        self.layout = layout
        self.task_spec = spec
        self.horizon = spec.horizon
        self.num_envs = envs.num_envs
        self.tells_success = False
        """Whether it has ever said if an episode is a success."""
        self._mode = AutoresetMode(envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._elapsed = 0
        self._last: Any = None
        """What is shown of each lane, and its flags."""
        self._ended = np.zeros(self.num_envs, dtype=bool)
        """Lanes that the vector environment itself has just ended."""

    def reset(self, *, seed: Sequence[int] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode in each lane. Seeds count on from the first: only lanes that repeat an episode could differ."""
        shown, _ = self.envs.reset(seed=None if seed is None else int(seed[0]))
        observation = self.layout.flatten(shown, (self.num_envs,))
        self._elapsed = 0
        nobody = np.zeros(self.num_envs, dtype=bool)
        self._last = observation, nobody, nobody, nobody
        self._ended = nobody
        return observation, {}

    def step(self, actions: np.ndarray) -> Stepped:
        """One action `[E, A]` in [-1, 1] in every lane."""
        before, *flags = self._last
        over = flags[0] | flags[1]
        if self._ended.any() and self._mode == AutoresetMode.DISABLED:
            self.envs.reset(options={"reset_mask": self._ended})
        shown, reward, terminated, truncated, info = self.envs.step(self.layout.to_world(actions))
        self._ended = terminated | truncated
        self._elapsed += 1
        now = self.layout.flatten(shown, (self.num_envs,))
        success = self._success(info)
        if self._mode == AutoresetMode.SAME_STEP and "final_obs" in info:
            for lane in np.flatnonzero(info["_final_obs"] & ~over).tolist():
                final = self.layout.flatten(info["final_obs"][lane])
                now = _with_row(now, lane, final)
            success = np.where(info["_final_obs"], self._success(info.get("final_info", {})), success)
        truncated = truncated | ((self._elapsed >= self.horizon) & ~terminated)
        fresh = (now, terminated, truncated, success)
        observation = map_observation(lambda old, new: np.where(over[:, None], old, new), before, now)
        flags = [np.where(over, old, new) for old, new in zip(flags, fresh[1:], strict=True)]
        self._last = (observation, *flags)
        return observation, np.where(over, 0.0, reward), flags[0], flags[1], {"is_success": flags[2]}

    def _success(self, info: dict[str, Any]) -> np.ndarray:
        for key in SUCCESS_KEYS:
            if key in info:
                self.tells_success = True
                return np.array([_flag(key, one) for one in info[key]]) & info.get(f"_{key}", True)
        return np.zeros(self.num_envs, dtype=bool)

    def close(self) -> None:
        """Does nothing: they are lent, and used again."""


def side_by_side(first: RowEnv | None, make: Callable[[], RowEnv], lanes: int, processes: bool) -> AsyncVectorEnv | SerialRows:
    """So many environments, in this process (where `first` is one of them) or each in one of its own.

    Raises:
        WorldError: a process has ended.
        ResidualRLError: `make` gives the same environment again.
    """
    if processes:
        with _noticing_death():
            return AsyncVectorEnv([_undisturbed(make)] * lanes, context="spawn", autoreset_mode=AutoresetMode.DISABLED)
    rows: list[RowEnv] = []
    try:
        for lane in range(lanes):
            rows.append(make() if first is None or lane else first)
            _check_alike(rows[0], rows[-1])
        if len({id(row.env.unwrapped) for row in rows}) < lanes:
            raise ResidualRLError("the function that makes environments must make a new one each time, not give the same again")
    except ResidualRLError:
        for row in rows[first is not None :]:
            close_quietly(row)
        raise
    return SerialRows(rows)


def _check_alike(first: RowEnv, other: RowEnv) -> None:
    """Checks that an environment speaks as the first one does."""
    for name in ("observation_space", "action_space"):
        one, two = getattr(first.env, name), getattr(other.env, name)
        spaces_of = {"observation_space": one, "action_space": first.env.action_space} | {name: two}
        if one != two and layout_of(**spaces_of) != first.layout:
            raise ResidualRLError(f"the {name.replace('_', ' ')}s of the environments differ: {one} and {two}")


def _number(name: str, value: Any) -> float:
    """A number, also where it is an array of one.

    Raises:
        ValueError: it is none.
    """
    try:
        if np.ndim(value):
            (value,) = np.asarray(value).ravel()
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}, not one number") from None


def _flag(name: str, value: Any) -> bool:
    """Whether it is so; not where it is None or NaN."""
    return value is not None and _number(name, value) > 0.0


def close_quietly(env: gymnasium.Env) -> None:
    """Closes an environment; what it raises is a warning, since what came of it is done."""
    try:
        env.close()
    except Exception as error:
        warn(f"closing an environment raised {type(error).__name__}: {error}", RuntimeWarning, stacklevel=2)


def close_rows(rows: AsyncVectorEnv | SerialRows) -> None:
    """Closes the environments, also those of processes that have ended by themselves."""
    if isinstance(rows, SerialRows):
        rows.close()
        return
    try:
        with catch_warnings(action="ignore"):  # that an answer is missing
            rows.close(timeout=PATIENCE)
    except (EOFError, ConnectionError):
        for process in rows.processes:
            process.terminate()
            process.join(PATIENCE)
            process.kill()
        rows.closed = True


@contextmanager
def _noticing_death() -> Iterator[None]:
    """The pipe to a process that has ended breaks; after that, Gymnasium waits for the answer of a call that is over."""
    try:
        yield
    except (EOFError, ConnectionError, AlreadyPendingCallError) as error:
        raise WorldError("a process of the environments has ended, as where memory runs out or a simulator crashes") from error


def _undisturbed(make: Callable[[], RowEnv]) -> Callable[[], RowEnv]:
    """Ctrl-C reaches all processes of a terminal; the training, which ends with a checkpoint, still has steps to take."""
    here = os.getpid()

    def made() -> RowEnv:
        if os.getpid() != here:  # Gymnasium makes one in this process too, to look at
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return make()

    return made


def _merged(infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Infos as a vector environment gives them."""
    if not any(infos):
        return {}
    return {"error": [info.get("error") for info in infos], "_error": np.array(["error" in info for info in infos])}


def _errors(info: dict[str, Any]) -> dict[int, str]:
    if "error" not in info:
        return {}
    return {lane: str(info["error"][lane]) for lane in np.flatnonzero(info["_error"]).tolist()}


def _with_row(observation: Observation, lane: int, row: Observation) -> Observation:
    def replaced(array: np.ndarray, values: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[lane] = values
        return array

    return map_observation(replaced, observation, row)
