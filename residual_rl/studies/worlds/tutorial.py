"""The environment and the controller of the tutorial, from the `examples` of a checkout."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium

import residual_rl
from residual_rl.controllers import per_lane
from residual_rl.errors import ResidualRLError

EXAMPLES = Path(residual_rl.__file__).parents[1] / "examples"


def ball_on_beam() -> gymnasium.Env:
    """A ball on a beam that is not mounted level."""
    _example("ball_on_beam")
    return gymnasium.make("BallOnBeam-v0", disable_env_checker=True)


def pid() -> Any:
    """Its PID controller."""
    return per_lane(_example("pid").PID)


def _example(name: str) -> ModuleType:
    if not (EXAMPLES / f"{name}.py").exists():
        raise ResidualRLError(f"the tutorial's world needs a checkout of the repository: there is no {EXAMPLES / name}.py")
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    return import_module(name)
