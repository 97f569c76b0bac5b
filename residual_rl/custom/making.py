"""Make, name and close user-supplied environments, and find their time limits."""

from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from importlib import import_module
from io import StringIO
from typing import Any
from warnings import warn

import gymnasium
from gymnasium import wrappers
from gymnasium.vector import VectorEnv

from residual_rl.errors import ResidualRLError, UnknownName, WorldError
from residual_rl.tasks import TASKS, VISUAL, find_visual

RUNNING = (
    wrappers.NormalizeObservation,
    wrappers.NormalizeReward,
    wrappers.vector.NormalizeObservation,
    wrappers.vector.NormalizeReward,
)


def gymnasium_maker(name: str, render_mode: str | None = None) -> Callable[[], gymnasium.Env]:
    """Return a function that makes environments of a Gymnasium id with this `render_mode`.

    Raises:
        UnknownName: there is none.
    """
    module, _, known_as = name.rpartition(":")
    if module:  # Gymnasium's syntax: the module registers the environment
        try:
            import_module(module)
        except Exception as error:
            raise WorldError(f"importing {module!r} for {name!r} raised {type(error).__name__}: {error}") from error
    elif name not in gymnasium.registry:
        with suppress(ModuleNotFoundError), redirect_stderr(StringIO()):  # it prints messages when it is imported
            gymnasium.register_envs(import_module("gymnasium_robotics"))
    visual = find_visual(known_as)
    try:
        spec = gymnasium.spec(known_as if visual is None else visual.gymnasium_id)
    except (gymnasium.error.Error, ImportError):
        raise UnknownName("task or Gymnasium environment", name, {**TASKS, **VISUAL}) from None
    drawn: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}  # not every environment takes it
    return lambda: gymnasium.make(spec, disable_env_checker=True, **drawn)


def made(make: Callable[[], gymnasium.Env], called: str) -> gymnasium.Env:
    """Make a new environment.

    Raises:
        WorldError: `make` raised.
        ResidualRLError: it made something else, or a batch of environments.
    """
    try:
        env = make()
    except Exception as error:
        raise WorldError(f"making the environment {called!r} raised {type(error).__name__}: {error}") from error
    if isinstance(env, VectorEnv):
        raise ResidualRLError(f"{called} made a vector environment, {type(env).__name__}: pass it itself, it has its own lanes")
    if not isinstance(env, gymnasium.Env):
        raise ResidualRLError(f"{called} made a {type(env).__name__}, not a gymnasium.Env")
    try:
        check_single(env, called)
    except ResidualRLError:
        close_quietly(env)
        raise
    return env


def check_single(env: gymnasium.Env, name: str) -> None:
    """Check that an environment is a single one.

    Raises:
        ResidualRLError: it steps a batch, with a leading axis, as simulators on a GPU do.
    """
    number = getattr(env.unwrapped, "num_envs", 1)
    if isinstance(number, int) and number > 1:
        raise ResidualRLError(
            f"{name} is {number} worlds in one gymnasium.Env: pass it in its vector wrapper, a gymnasium.vector.VectorEnv "
            "(ManiSkill's is ManiSkillVectorEnv)"
        )


def running_statistics(env: Any) -> str | None:
    """Return the name of a wrapper whose statistics change with every step, if there is one around an environment."""
    while env is not None:
        if isinstance(env, RUNNING) and env.update_running_mean:
            return type(env).__name__
        env = getattr(env, "env", None)
    return None


def environment_name(env: Any) -> str:
    """Return the name of an environment, a vector environment, or a function or class that makes one."""
    if not isinstance(env, type) and getattr(env, "spec", None) is not None:
        return str(env.spec.id)
    name = getattr(env, "__name__", None) or type(getattr(env, "unwrapped", env)).__name__
    return f"own-{name}" if name in TASKS else name


def limit_of(spec: Any) -> int | None:
    """Return the time limit in a Gymnasium spec."""
    return getattr(spec, "max_episode_steps", None)


def time_limit(env: gymnasium.Env) -> int | None:
    """Return the time limit in the environment's spec, or of a TimeLimit around it."""
    inner: Any = env
    while inner is not None:
        if isinstance(inner, gymnasium.wrappers.TimeLimit):
            return int(inner._max_episode_steps)
        inner = getattr(inner, "env", None)
    return limit_of(env.spec)


def close_quietly(env: gymnasium.Env) -> None:
    """Close an environment; turn an exception into a warning, since its results are complete."""
    try:
        env.close()
    except Exception as error:
        warn(f"closing an environment raised {type(error).__name__}: {error}", RuntimeWarning, stacklevel=2)
