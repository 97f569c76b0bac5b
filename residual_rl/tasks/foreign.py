"""An environment that somebody brings, opened: what it is called, how long it lasts, what its spaces are, and lanes of it."""

from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as record

from residual_rl.errors import ResidualRLError, UnknownName, WorldError
from residual_rl.tasks import TASKS
from residual_rl.tasks.goals import NO_GOALS, GoalRules, goals_of
from residual_rl.tasks.lanes import Lanes, RowEnv, RowLanes, VectorLanes, close_quietly, close_rows, side_by_side
from residual_rl.tasks.layout import Layout, layout_of
from residual_rl.tasks.task import Task
from residual_rl.types import Array, Measure, RewardFunction, Spec, SuccessFunction

ASKED_SEED = 0  # of the episode in which hindsight asks; nothing happens in it
AnyEnv = str | gymnasium.Env | VectorEnv | Callable[[], gymnasium.Env]
"""A task's name or Gymnasium id, any other Gymnasium id, an environment, a vector environment, or what makes an environment."""


@record(frozen=True, config=ConfigDict(extra="forbid"))
class Findings:
    """What the base's first episodes showed about an environment."""

    measured_by: Measure
    """Success where the environment tells of it, else return."""
    reward_scale: float
    sparse: bool
    """Whether rewards are -1 or 0."""
    episode_steps: float
    """Mean length of the episodes."""
    goal_rules: GoalRules | None
    """None where hindsight has nothing to ask."""
    usual_value: float = 0.0
    """What the base's states are worth on average, in the environment's rewards: the zero of the learner's values."""


@dataclass(frozen=True)
class ForeignTask:
    """To the rest of the library what a `Task` is: its environments come from somebody else, and are shared by all uses."""

    name: str
    spec: Spec
    layout: Layout
    lanes: Lanes
    reward: RewardFunction
    success: SuccessFunction | None
    measured_by: Measure
    reward_scale: float
    """What rewards are multiplied by for the learner."""
    usual_value: float
    """What is zero for the learner."""

    @property
    def learner_spec(self) -> Spec:
        """The spec with rewards as the learner sees them."""
        low, high = self.spec.reward_range
        return self.spec._replace(reward_range=(low * self.reward_scale, high * self.reward_scale))

    def learner_reward(self, reward: Array, discount: Array) -> Array:
        """Rewards `[B]` as the learner sees them, where the next state's value counts for `discount` `[B]`.

        Every value is then `scale * (value - usual_value)`, and nothing is preferred that was not: with `V = r + d V'`, it is
        `V - u = r - (1 - d) u + d (V' - u)`, also where the world ended the episode (d = 0) or several steps are summed up.
        """
        scale, usual = np.float32(self.reward_scale), np.float32(self.usual_value)
        return scale * (reward - (1 - discount) * usual)

    def make_envs(self, num_envs: int = 1, **kwargs: Any) -> Lanes:
        """The lanes that there are; the arguments of `Task.make_envs` are for worlds of the library.

        Raises:
            ResidualRLError: a controller wants to see the simulator's state.
        """
        if kwargs.get("with_state"):
            raise ResidualRLError(
                f"{self.name} shows no simulator state: a controller that reads it works in its own task only"
            )
        return self.lanes


AnyTask = Task | ForeignTask


class Opened:
    """An environment that was brought, before it is known how many lanes are needed. To be closed.

    Raises:
        UnknownName: an id that neither the library nor Gymnasium knows.
        ResidualRLError: it cannot be made, its spaces cannot work, or its episodes have no end; says why.
    """

    def __init__(self, env: AnyEnv, horizon: int | None = None, processes: bool = False):
        self.make: Callable[[], gymnasium.Env] | None = None
        """None where there is only what was brought."""
        self.processes = processes
        self._lanes: Lanes | None = None
        self._vector: Any = None
        self._asked: gymnasium.Env | None = None
        """What hindsight asks, where it is not one of the lanes."""
        if horizon is not None and horizon < 1:
            raise ResidualRLError(f"horizon must be at least 1, not {horizon}")
        if isinstance(env, VectorEnv):
            self.first: gymnasium.Env | None = None
            self.brought: VectorEnv | None = env
            spaces = env.single_observation_space, env.single_action_space
            limit, self.name = _limit_of(getattr(env, "spec", None)), _name_of(env)
        else:
            self.make = _maker(env)
            self.first = env if isinstance(env, gymnasium.Env) else _made(self.make, env)
            self.brought = None
            spaces = self.first.observation_space, self.first.action_space
            limit, self.name = _time_limit(self.first), _name_of(self.first)
        if processes and self.make is None:
            raise ResidualRLError(
                f"processes=True needs something that makes {self.name}, to be called in each: a Gymnasium id, or a function "
                "without arguments"
            )
        try:
            self.layout = layout_of(*spaces)
        except ResidualRLError as error:
            self.close()
            raise ResidualRLError(f"{self.name} cannot be used: {error}") from None
        limits = [each for each in (horizon, limit) if each is not None]
        if not limits:
            self.close()
            raise ResidualRLError(
                f"{self.name} has no time limit, and what a step is worth depends on it: pass horizon=, the steps after which "
                "an episode is cut"
            )
        self.horizon = min(limits)
        self._row = None if self.first is None else RowEnv(self.first, self.layout, self.horizon)

    @property
    def fixed_lanes(self) -> int | None:
        """How many lanes there are; None where there can be as many as one likes."""
        if self.brought is not None:
            return self.brought.num_envs
        return 1 if self.make is None else None

    @property
    def spec(self) -> Spec:
        """What a learner knows about it; the range of its rewards is not yet known."""
        return Spec(self.layout.observation_size, self.layout.goal_size, self.layout.action_size, self.horizon)

    @property
    def tells_success(self) -> bool:
        """Whether the lanes of `few_lanes` have ever said if an episode is a success."""
        return self._row.tells_success if self._row is not None else getattr(self._lanes, "tells_success", False)

    def few_lanes(self) -> Lanes:
        """As few lanes as there can be, to look at."""
        if self._row is None:
            assert self.brought is not None
            self._lanes = VectorLanes(self.brought, self.layout, self.spec)
            return self._lanes
        row = self._row
        return RowLanes(side_by_side(row, lambda: row, 1, False), self.layout, self.spec)

    def task(self, findings: Findings, lanes: int) -> ForeignTask:
        """The task, with so many lanes.

        Raises:
            ResidualRLError: there are not so many.
        """
        spec = self.spec._replace(reward_range=(-1.0, 0.0)) if findings.sparse else self.spec
        goals = NO_GOALS if findings.goal_rules is None else goals_of(self._reset_once(), self.layout, findings.goal_rules)
        if self.fixed_lanes not in (None, lanes):
            raise ResidualRLError(f"{self.name} has {self.fixed_lanes} lanes: episodes_per_cycle must be that, not {lanes}")
        return ForeignTask(
            name=self.name,
            spec=spec,
            layout=self.layout,
            lanes=self._lanes_of(spec, lanes),
            reward=goals.reward,
            success=goals.success,
            measured_by=findings.measured_by,
            reward_scale=findings.reward_scale,
            usual_value=findings.usual_value,
        )

    def _reset_once(self) -> gymnasium.Env:
        """What hindsight asks about goals, reset once.

        It is one that takes no part in training, and so in the same episode in a run that goes on. Where no other can be made
        it is the first, and what depends on its episode is not the same.
        """
        assert self.first is not None
        asked = self.first
        if self.make is not None and not self.processes:
            try:
                asked = _made(self.make, self.name)
            except WorldError:
                asked = self.first
            if asked is not self.first:
                self._asked = asked
        try:
            asked.reset(seed=ASKED_SEED)
        except Exception as error:
            raise WorldError(f"{self.name}: reset raised {type(error).__name__}: {error}") from error
        return asked

    def _lanes_of(self, spec: Spec, lanes: int) -> Lanes:
        if self.brought is not None:
            return VectorLanes(self.brought, self.layout, spec)
        assert self._row is not None
        make_env, name, layout, horizon = self.make, self.name, self.layout, self.horizon

        def make() -> RowEnv:
            return RowEnv(_made(make_env, name), layout, horizon)

        self._vector = side_by_side(self._row, make, lanes, self.processes)
        return RowLanes(self._vector, self.layout, spec)

    def close(self) -> None:
        """Closes what was made here; what was brought stays open. What comes of it is done by then: a failure is a warning."""
        if self.make is None:
            return
        if self._vector is not None:
            close_rows(self._vector)
        if self.first is not None and (self._vector is None or self.processes):
            close_quietly(self.first)
        if self._asked is not None:
            close_quietly(self._asked)


def _maker(env: AnyEnv) -> Callable[[], gymnasium.Env] | None:
    if isinstance(env, gymnasium.Env):
        return None
    if isinstance(env, str):
        return gymnasium_maker(env)
    if not callable(env):
        raise ResidualRLError(
            f"env is a {type(env).__name__}: it must be a task's name, a Gymnasium id, a gymnasium.Env or VectorEnv, or a "
            "function without arguments that makes an Env"
        )
    return env


def gymnasium_maker(name: str) -> Callable[[], gymnasium.Env]:
    """What makes the environments of a Gymnasium id.

    Raises:
        UnknownName: there is none.
    """
    module, _, known_as = name.rpartition(":")
    if module:  # as Gymnasium has it: the module registers the environment
        try:
            import_module(module)
        except Exception as error:
            raise WorldError(f"importing {module!r} for {name!r} raised {type(error).__name__}: {error}") from error
    elif name not in gymnasium.registry:
        with redirect_stderr(StringIO()):  # it tells of changes to its own tasks when it is imported
            import gymnasium_robotics

        gymnasium.register_envs(gymnasium_robotics)
    try:
        spec = gymnasium.spec(known_as)
    except (gymnasium.error.Error, ImportError):
        raise UnknownName("task or Gymnasium environment", name, TASKS) from None
    return lambda: gymnasium.make(spec, disable_env_checker=True)


def _made(make: Callable[[], gymnasium.Env] | None, env: Any) -> gymnasium.Env:
    assert make is not None
    try:
        made = make()
    except Exception as error:
        raise WorldError(f"making the environment {_name_of(env)!r} raised {type(error).__name__}: {error}") from error
    if not isinstance(made, gymnasium.Env):
        raise ResidualRLError(f"{_name_of(env)} made a {type(made).__name__}, not a gymnasium.Env")
    return made


def _name_of(env: Any) -> str:
    if isinstance(env, str):
        return env
    if getattr(env, "spec", None) is not None:
        return str(env.spec.id)
    name = getattr(env, "__name__", None) or type(getattr(env, "unwrapped", env)).__name__
    return f"own-{name}" if name in TASKS else name


def _limit_of(spec: Any) -> int | None:
    return getattr(spec, "max_episode_steps", None)


def _time_limit(env: gymnasium.Env) -> int | None:
    """From the environment's spec, or from a TimeLimit around it."""
    inner: Any = env
    while inner is not None:
        if isinstance(inner, gymnasium.wrappers.TimeLimit):
            return int(inner._max_episode_steps)
        inner = getattr(inner, "env", None)
    return _limit_of(env.spec)
