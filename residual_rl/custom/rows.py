"""Environments stepped together as rows of numbers: in this process one after the other, or at once in processes."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from warnings import catch_warnings

import numpy as np
from gymnasium.error import AlreadyPendingCallError
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from residual_rl.custom.row_env import FLAGS, RowEnv
from residual_rl.errors import ResidualRLError, WorldError
from residual_rl.spaces import layout_of

PATIENCE = 5.0  # seconds that a process has for an answer that it owes, or to end when it is told to

Errors = dict[int, str]
"""What went wrong, by lane."""


class SerialRows:
    """`RowEnv`s in this process.

    Gymnasium's `SyncVectorEnv` would do the same, but copies each observation three times and merges infos that are empty.

    Raises:
        ResidualRLError: their spaces differ.
    """

    def __init__(self, envs: Sequence[RowEnv]):
        for env in envs:
            _check_alike(envs[0], env)
        self.envs = envs
        self.num_envs = len(envs)
        self._width = envs[0].layout.width + FLAGS

    def reset(self, seed: Sequence[int] | None) -> tuple[np.ndarray, Errors]:
        """Rows `[E, O + 2 G + 3]` at the start of an episode in each lane."""
        seeds = [None] * self.num_envs if seed is None else seed
        rows, infos = zip(*(env.reset(seed=each) for env, each in zip(self.envs, seeds, strict=True)), strict=True)
        return np.stack(rows), _errors(infos)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Errors]:
        """Rows and rewards `[E]` after one action each, as the environments take them."""
        rows = np.empty((self.num_envs, self._width))
        lanes = zip(self.envs, rows, actions, strict=True)
        reward, infos = zip(*[env.step_into(row, action) for env, row, action in lanes], strict=True)
        return rows, np.array(reward), _errors(infos)


class ProcessRows:
    """`RowEnv`s in processes of their own.

    Raises, also in its methods:
        WorldError: a process has ended.
    """

    def __init__(self, make: Callable[[], RowEnv], num_envs: int):
        with _noticing_death():
            self._envs = AsyncVectorEnv([_undisturbed(make)] * num_envs, context="spawn", autoreset_mode=AutoresetMode.DISABLED)
        self.num_envs = num_envs
        self.processes = self._envs.processes

    def reset(self, seed: Sequence[int] | None) -> tuple[np.ndarray, Errors]:
        """See `SerialRows`."""
        with _noticing_death():
            rows, info = self._envs.reset(seed=None if seed is None else list(seed))
        return rows, _errors_merged(info)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Errors]:
        """See `SerialRows`."""
        with _noticing_death():
            rows, reward, _, _, info = self._envs.step(actions)
        return rows, reward.copy(), _errors_merged(info)

    def close(self) -> None:
        """Closes the environments, also where processes have ended by themselves."""
        try:
            with catch_warnings(action="ignore"):  # that an answer is missing
                self._envs.close(timeout=PATIENCE)
        except (EOFError, ConnectionError):
            for process in self.processes:
                process.terminate()
                process.join(PATIENCE)
                process.kill()
            self._envs.closed = True


def _check_alike(first: RowEnv, other: RowEnv) -> None:
    """Checks that an environment speaks as the first one does."""
    for name in ("observation_space", "action_space"):
        one, two = getattr(first.env, name), getattr(other.env, name)
        spaces_of = {"observation_space": one, "action_space": first.env.action_space} | {name: two}
        if one != two and layout_of(**spaces_of) != first.layout:
            raise ResidualRLError(f"the {name.replace('_', ' ')}s of the environments differ: {one} and {two}")


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


def _errors(infos: Sequence[dict[str, Any]]) -> Errors:
    return {lane: info["error"] for lane, info in enumerate(infos) if info}


def _errors_merged(info: dict[str, Any]) -> Errors:
    """Of an info as a vector environment gives it."""
    if "error" not in info:
        return {}
    return {lane: str(info["error"][lane]) for lane in np.flatnonzero(info["_error"]).tolist()}
