"""The source of lanes: a vector environment, a single environment, or a function that makes any number of them."""

from collections.abc import Callable
from multiprocessing import current_process
from typing import Protocol

import gymnasium
from gymnasium import Space
from gymnasium.vector import AutoresetMode, VectorEnv

from residual_rl.custom.making import (
    check_single,
    close_quietly,
    environment_name,
    gymnasium_maker,
    limit_of,
    made,
    running_statistics,
    time_limit,
)
from residual_rl.custom.row_env import RowEnv
from residual_rl.custom.row_lanes import GUARD, ProcessRows, RowLanes, SerialRows
from residual_rl.custom.success import LAST
from residual_rl.custom.vector_lanes import VectorLanes
from residual_rl.encoders.encoder import Encoder
from residual_rl.errors import ResidualRLError, WorldError
from residual_rl.spaces import Layout
from residual_rl.tasks import check_worlds, find_visual
from residual_rl.tasks.visual import VisualTask
from residual_rl.types import Spec

AnyEnv = str | gymnasium.Env | VectorEnv | Callable[[], gymnasium.Env]
"""A task's name, a Gymnasium id, an environment, a vector environment, or a function or class that makes an environment."""

ForeignLanes = RowLanes | VectorLanes


class Source(Protocol):
    """A user-supplied environment, or a function that makes it."""

    name: str
    spaces: tuple[Space, Space]
    """Observation and action space of one environment."""
    time_limit: int | None
    one: gymnasium.Env | None
    """One of the environments, for rewards at other goals; None if none is accessible."""
    running_statistics: str | None
    """Name of a wrapper around it with running statistics; None if there is none."""
    num_lanes: int | None
    """The number of lanes if it is fixed, else None."""

    def few_lanes(self, layout: Layout, spec: Spec, success: str = LAST, encoder: Encoder | None = None) -> ForeignLanes:
        """As few as there can be, to look at."""
        ...

    def lanes(
        self, layout: Layout, spec: Spec, num_lanes: int, success: str = LAST, encoder: Encoder | None = None
    ) -> ForeignLanes:
        """So many, to be used from now on."""
        ...

    def another(self) -> gymnasium.Env | None:
        """Return an environment that takes no part in training, or `one` if there is no other."""
        ...

    def close(self) -> None:
        """Close the environments that were made here; user-supplied instances stay open."""
        ...


def source_of(env: AnyEnv, processes: bool) -> Source:
    """Return the source for an environment; with `processes`, each lane gets a process of its own.

    Raises:
        UnknownName: an id that neither the library nor Gymnasium knows.
        ResidualRLError: it is not an environment, cannot be made, or cannot be made in processes.
    """
    if processes and getattr(current_process(), "_inheriting", False):  # the script, run again by a process that is starting
        raise ResidualRLError(f"processes=True starts processes: {GUARD}")
    if isinstance(env, VectorEnv | gymnasium.Env):
        source = OneVectorEnv(env) if isinstance(env, VectorEnv) else OneEnv(env)
        if processes:
            raise ResidualRLError(
                f"processes=True needs something that makes {source.name}, to be called in each: a Gymnasium id, or a function "
                "without arguments"
            )
        return source
    if isinstance(env, str) and (task := find_visual(env)) is not None:
        if processes:
            raise ResidualRLError(f"{task.name} steps its lanes in one batch: processes=True is for your own environments")
        return VisualLanes(task)
    if isinstance(env, str):
        return ManyEnvs(gymnasium_maker(env), env, processes)
    if not callable(env):
        raise ResidualRLError(
            f"env is a {type(env).__name__}: it must be a task's name, a Gymnasium id, a gymnasium.Env or VectorEnv, or a "
            "function or class without arguments that makes an Env"
        )
    return ManyEnvs(env, environment_name(env), processes)


class OneVectorEnv:
    """A user-supplied vector environment."""

    def __init__(self, envs: VectorEnv):
        self.envs = envs
        self.name = environment_name(envs)
        self.spaces = envs.single_observation_space, envs.single_action_space
        self.time_limit = limit_of(getattr(envs, "spec", None))
        self.one: gymnasium.Env | None = None
        self.running_statistics = running_statistics(envs)
        self.num_lanes: int | None = envs.num_envs

    def few_lanes(self, layout: Layout, spec: Spec, success: str = LAST, encoder: Encoder | None = None) -> ForeignLanes:
        """All of them."""
        return self.lanes(layout, spec, self.envs.num_envs, success, encoder)

    def lanes(
        self, layout: Layout, spec: Spec, num_lanes: int, success: str = LAST, encoder: Encoder | None = None
    ) -> ForeignLanes:
        """All of them."""
        return VectorLanes(self.envs, layout, spec, success, encoder)

    def another(self) -> gymnasium.Env | None:
        """Return None: its environments are not accessible."""
        return None

    def close(self) -> None:
        """Do nothing."""


class VisualLanes:
    """A visual task of the library: as many lanes as are needed, stepped in one batch and seen through one camera."""

    def __init__(self, task: VisualTask):
        check_worlds()
        self.name = task.name
        self.time_limit: int | None = task.spec.horizon
        self.one: gymnasium.Env | None = None
        self.running_statistics: str | None = None
        self.num_lanes: int | None = None
        self._task = task
        self._made = {1: self._make(1)}
        self.spaces = self._made[1].single_observation_space, self._made[1].single_action_space

    def few_lanes(self, layout: Layout, spec: Spec, success: str = LAST, encoder: Encoder | None = None) -> ForeignLanes:
        """One."""
        return self.lanes(layout, spec, 1, success, encoder)

    def lanes(
        self, layout: Layout, spec: Spec, num_lanes: int, success: str = LAST, encoder: Encoder | None = None
    ) -> ForeignLanes:
        """So many, in one vector environment."""
        if num_lanes not in self._made:
            self._made[num_lanes] = self._make(num_lanes)
        return VectorLanes(self._made[num_lanes], layout, spec, success, encoder)

    def another(self) -> gymnasium.Env | None:
        """Return None: there are no goals at which rewards could be asked."""
        return None

    def close(self) -> None:
        """End the physics threads."""
        for envs in self._made.values():
            envs.close()

    def _make(self, num_lanes: int) -> VectorEnv:
        return self._task.make_envs(num_lanes, autoreset_mode=AutoresetMode.DISABLED)


class OneEnv:
    """A user-supplied single environment."""

    def __init__(self, env: gymnasium.Env):
        self.name = environment_name(env)
        check_single(env, self.name)
        self.spaces = env.observation_space, env.action_space
        self.time_limit = time_limit(env)
        self.one: gymnasium.Env | None = env
        self.running_statistics = running_statistics(env)
        self.num_lanes: int | None = 1
        self._env = env

    def few_lanes(self, layout: Layout, spec: Spec, success: str = LAST, encoder: Encoder | None = None) -> ForeignLanes:
        """The one that there is."""
        return self.lanes(layout, spec, 1, success, encoder)

    def lanes(
        self, layout: Layout, spec: Spec, num_lanes: int, success: str = LAST, encoder: Encoder | None = None
    ) -> ForeignLanes:
        """The one that there is."""
        return RowLanes(SerialRows([RowEnv(self._env, layout, spec.horizon)]), layout, spec, success, encoder)

    def another(self) -> gymnasium.Env | None:
        """Return the only one; rewards that depend on its episode can differ after a resume."""
        return self.one

    def close(self) -> None:
        """Do nothing."""


class ManyEnvs:
    """Any number of environments. The first of them is one of the lanes, unless these are in processes."""

    def __init__(self, make: Callable[[], gymnasium.Env], called: str, processes: bool):
        self._make = make
        self._called = called
        self._first = made(make, called)
        self._made = [self._first]
        self._processes = processes
        self._in_processes: ProcessRows | None = None
        self.name = called if ":" in called else environment_name(self._first)  # an id's module is needed to load a run later
        self.spaces = self._first.observation_space, self._first.action_space
        self.time_limit = time_limit(self._first)
        self.one: gymnasium.Env | None = self._first
        self.running_statistics = running_statistics(self._first)
        self.num_lanes: int | None = None

    def few_lanes(self, layout: Layout, spec: Spec, success: str = LAST, encoder: Encoder | None = None) -> ForeignLanes:
        """One."""
        return RowLanes(SerialRows([RowEnv(self._first, layout, spec.horizon)]), layout, spec, success, encoder)

    def lanes(
        self, layout: Layout, spec: Spec, num_lanes: int, success: str = LAST, encoder: Encoder | None = None
    ) -> ForeignLanes:
        """So many, in this process or each in one of its own.

        Raises:
            WorldError: one cannot be made, or a process has ended.
            ResidualRLError: their spaces differ, or the function returned the same environment twice.
        """
        if self._processes:
            make, called = (
                self._make,
                self._called,
            )  # the function for the processes must not refer to these environments
            self._in_processes = ProcessRows(lambda: RowEnv(made(make, called), layout, spec.horizon), num_lanes)
            return RowLanes(self._in_processes, layout, spec, success, encoder)
        envs = [self._first, *(self._make_one() for _ in range(num_lanes - 1))]
        return RowLanes(SerialRows([RowEnv(env, layout, spec.horizon) for env in envs]), layout, spec, success, encoder)

    def another(self) -> gymnasium.Env | None:
        """Return a new one; the first if there cannot be another, or if it is not a lane."""
        if self._processes:
            return self._first
        try:
            return self._make_one()
        except WorldError:
            return self._first

    def close(self) -> None:
        """Close all. Their results are complete, so a failure is a warning."""
        if self._in_processes is not None:
            self._in_processes.close()
        for env in self._made:
            close_quietly(env)

    def _make_one(self) -> gymnasium.Env:
        env = made(self._make, self._called)
        if any(env.unwrapped is other.unwrapped for other in self._made):
            raise ResidualRLError("the function that makes environments must make a new one each time, not give the same again")
        self._made.append(env)
        return env
