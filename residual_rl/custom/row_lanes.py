"""Lanes of `RowEnv`s: stepped one after the other in this process, or in parallel in worker processes."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from warnings import catch_warnings

import numpy as np
from gymnasium.error import AlreadyPendingCallError
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from residual_rl.custom.row_env import RowEnv, flags_of
from residual_rl.custom.success import LAST, Judge
from residual_rl.encoders.encoder import Encoder
from residual_rl.encoders.perception import Perception
from residual_rl.errors import ResidualRLError, WorldError
from residual_rl.processes import ignore_interrupts
from residual_rl.seeds import seed_32
from residual_rl.spaces import Layout, layout_of
from residual_rl.tasks.lanes import Stepped
from residual_rl.types import Observation, Spec

PATIENCE = 5.0  # seconds that a process has to answer, or to end after a close

GUARD = (
    'each process runs the script that starts it, so that this must stand below `if __name__ == "__main__":` there, and what '
    "makes an environment above"
)

Errors = dict[int, str]
"""Error messages by lane."""


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
        self._row = envs[0].observation_space

    def reset(self, seed: Sequence[int] | None) -> tuple[np.ndarray, Errors]:
        """Rows `[E, R + 3]`, see `RowEnv`, at the start of an episode in each lane."""
        seeds = [None] * self.num_envs if seed is None else seed
        rows, infos = zip(*(env.reset(seed=each) for env, each in zip(self.envs, seeds, strict=True)), strict=True)
        return np.stack(rows), _errors(infos)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Errors]:
        """Rows and rewards `[E]` after one action each, as the environments take them."""
        rows = np.empty((self.num_envs, *self._row.shape), self._row.dtype)  # type: ignore[misc]
        lanes = zip(self.envs, rows, actions, strict=True)
        reward, infos = zip(*[env.step_into(row, action) for env, row, action in lanes], strict=True)
        return rows, np.array(reward), _errors(infos)


class ProcessRows:
    """`RowEnv`s in worker processes.

    Raises, also in its methods:
        WorldError: a process has ended.
    """

    def __init__(self, make: Callable[[], RowEnv], num_envs: int):
        try:
            with _noticing_death():
                make_all = [_undisturbed(make)] * num_envs
                self._envs = AsyncVectorEnv(make_all, context="spawn", autoreset_mode=AutoresetMode.DISABLED)
        except WorldError as error:
            raise WorldError(f"{error}. It ended at its start: {GUARD}") from error
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
        """Close the environments, also if processes have ended by themselves."""
        try:
            with catch_warnings(action="ignore"):  # that an answer is missing
                self._envs.close(timeout=PATIENCE)
        except (EOFError, ConnectionError):
            for process in self.processes:
                process.terminate()
                process.join(PATIENCE)
                process.kill()
            self._envs.closed = True


class RowLanes:
    """Convert rows to observations, and actions to the environment's units."""

    def __init__(
        self,
        rows: SerialRows | ProcessRows,
        layout: Layout,
        spec: Spec,
        success: str = LAST,
        encoder: Encoder | None = None,
    ):
        self.rows = rows
        self._perceive = Perception(layout, encoder)
        self.layout = layout
        self.task_spec = spec
        self.horizon = spec.horizon
        self.num_envs = rows.num_envs
        self.tells_success = False
        """Whether any environment has ever reported success or failure."""
        self.judge = Judge(success, rows.num_envs)
        self._ended = np.zeros(rows.num_envs, dtype=bool)

    def reset(self, *, seed: Sequence[int] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Start an episode in each lane.

        Raises:
            WorldError: a process has ended.
        """
        self.judge.reset()
        self._ended = np.zeros(self.num_envs, dtype=bool)
        rows, errors = self.rows.reset(None if seed is None else [seed_32(each) for each in seed])
        return self._perceive(rows, errors), {"errors": errors}

    def step(self, actions: np.ndarray) -> Stepped:
        """Apply one action `[E, A]` in [-1, 1] in every lane.

        Raises:
            WorldError: a process has ended.
        """
        rows, reward, errors = self.rows.step(self.layout.to_world(actions))
        flags = flags_of(rows).T
        terminated, truncated, success = flags == 1.0
        self.tells_success = self.tells_success or not np.isnan(flags[-1]).all()
        success = self.judge.after(success, self._ended)
        self._ended = terminated | truncated
        return self._perceive(rows, errors), reward, terminated, truncated, {"is_success": success, "errors": errors}

    def close(self) -> None:
        """Do nothing: the environments are shared and used again."""


def _check_alike(first: RowEnv, other: RowEnv) -> None:
    """Check that an environment has the spaces of the first one."""
    for name in ("observation_space", "action_space"):
        one, two = getattr(first.env, name), getattr(other.env, name)
        spaces_of = {"observation_space": one, "action_space": first.env.action_space} | {name: two}
        if one != two and layout_of(**spaces_of) != first.layout.of_environment:
            raise ResidualRLError(f"the {name.replace('_', ' ')}s of the environments differ: {one} and {two}")


@contextmanager
def _noticing_death() -> Iterator[None]:
    """Raise WorldError if a process has ended: its pipe breaks, or Gymnasium waits for an answer that never comes."""
    try:
        yield
    except (EOFError, ConnectionError, AlreadyPendingCallError) as error:
        raise WorldError("a process of the environments has ended, as where memory runs out or a simulator crashes") from error


def _undisturbed(make: Callable[[], RowEnv]) -> Callable[[], RowEnv]:
    """Return a function that makes the environment in a worker process, where Ctrl-C is ignored."""
    here = os.getpid()

    def made() -> RowEnv:
        if os.getpid() != here:  # Gymnasium makes one in this process too, to look at
            ignore_interrupts()
        return make()

    return made


def _errors(infos: Sequence[dict[str, Any]]) -> Errors:
    return {lane: info["error"] for lane, info in enumerate(infos) if info}


def _errors_merged(info: dict[str, Any]) -> Errors:
    """Return the errors in the info of a vector environment."""
    if "error" not in info:
        return {}
    return {lane: str(info["error"][lane]) for lane in np.flatnonzero(info["_error"]).tolist()}
