"""How environments are made, what they are called, how long their episodes last, and how they are closed."""

from collections.abc import Callable
from contextlib import redirect_stderr
from importlib import import_module
from io import StringIO
from typing import Any
from warnings import warn

import gymnasium

from residual_rl.errors import ResidualRLError, UnknownName, WorldError
from residual_rl.tasks import TASKS


def gymnasium_maker(name: str, render_mode: str | None = None) -> Callable[[], gymnasium.Env]:
    """What makes the environments of a Gymnasium id, drawn as Gymnasium's `render_mode` says.

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
    return lambda: gymnasium.make(spec, render_mode=render_mode, disable_env_checker=True)


def made(make: Callable[[], gymnasium.Env], called: str) -> gymnasium.Env:
    """A new environment.

    Raises:
        WorldError: `make` raised.
        ResidualRLError: it made something else.
    """
    try:
        env = make()
    except Exception as error:
        raise WorldError(f"making the environment {called!r} raised {type(error).__name__}: {error}") from error
    if not isinstance(env, gymnasium.Env):
        raise ResidualRLError(f"{called} made a {type(env).__name__}, not a gymnasium.Env")
    return env


def name_of(env: Any) -> str:
    """Of an environment, a vector environment, or a function that makes one."""
    if getattr(env, "spec", None) is not None:
        return str(env.spec.id)
    name = getattr(env, "__name__", None) or type(getattr(env, "unwrapped", env)).__name__
    return f"own-{name}" if name in TASKS else name


def limit_of(spec: Any) -> int | None:
    """The time limit that a Gymnasium spec tells of."""
    return getattr(spec, "max_episode_steps", None)


def time_limit(env: gymnasium.Env) -> int | None:
    """From the environment's spec, or from a TimeLimit around it."""
    inner: Any = env
    while inner is not None:
        if isinstance(inner, gymnasium.wrappers.TimeLimit):
            return int(inner._max_episode_steps)
        inner = getattr(inner, "env", None)
    return limit_of(env.spec)


def close_quietly(env: gymnasium.Env) -> None:
    """Closes an environment; what it raises is a warning, since what came of it is done."""
    try:
        env.close()
    except Exception as error:
        warn(f"closing an environment raised {type(error).__name__}: {error}", RuntimeWarning, stacklevel=2)
