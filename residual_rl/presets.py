"""Methods and presets, and how a preset's per-cycle settings are scaled to the length of episodes.

The presets are for episodes of 50 steps. Longer episodes keep the same number of updates for each step, and the same number of
burn-in steps; a cycle and an evaluation have fewer of them, since an evaluation would otherwise cost more than the training.
With fewer parallel environments than episodes per cycle, a cycle gets shorter but keeps its number of updates, so there are
more updates per step and fewer burn-in steps.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from residual_rl import storage
from residual_rl.config import Config, changed
from residual_rl.errors import ResidualRLError, UnknownName
from residual_rl.learning.algorithm import Algorithm
from residual_rl.learning.burn_in import FixedBurnIn
from residual_rl.learning.ddpg import DDPG
from residual_rl.learning.gated_ddpg import GatedDDPG
from residual_rl.learning.hindsight import Hindsight
from residual_rl.tasks.task import Task

EPISODE_STEPS = 50  # of the episodes for which the presets are
LONGEST_CYCLE = 1600  # steps; where more than one episode fits into it
EVALUATION_STEPS = 20_000
VERDICT_STEPS = 100_000
PACED = ("episodes_per_cycle", "updates_per_cycle", "evaluation_episodes", "evaluation_interval", "verdict_episodes")
BENCH_EPISODES = {"evaluation_episodes": 4, "verdict_episodes": 48}
BENCH_EVALUATIONS = 4  # in a run, besides the first one
FEWEST = {"evaluation_episodes": 20, "verdict_episodes": 100}

METHODS = {
    "rpl": "learn a residual over the controller",
    "scratch": "learn without a controller: the same code over Zero",
    "expert-explore": "learn from scratch, while in a share of the training steps the controller acts; preset silver2018",
}

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": (
        "the recommended learner: the residual acts only where the critics agree that it beats the base",
        {"algorithm": GatedDDPG(), "hindsight": Hindsight(keep_achieved_ratio=0.25)},
    ),
    "silver2018": (
        "DDPG + HER as published with Silver et al. 2018, in one process",
        {
            "algorithm": DDPG(),
            "hindsight": Hindsight(keep_achieved_ratio=1.0),
            "episodes_per_cycle": 8,
            "updates_per_cycle": 40,
            "overlap": False,
        },
    ),
}
"""Name: a line about it, and the fields that it sets. Everything else is the default of `Config`."""


def make_config(preset: str = "default", **fields: Any) -> Config:
    """A configuration from a preset and the fields that differ from it.

    A field of a part is named by its path: `make_config("default", task=..., controller=..., **{"algorithm.pessimism": 0.5})`.

    Raises:
        UnknownName: no such preset, method or path.
        ResidualRLError: a field's value is out of range, or a controller does not go with the method; the message names the
            field and the value.
    """
    if preset not in PRESETS:
        raise UnknownName("preset", preset, PRESETS)
    if fields.get("method", "rpl") not in METHODS:
        raise UnknownName("method", fields["method"], METHODS)
    paths = {name: fields.pop(name) for name in list(fields) if "." in name}
    fields = PRESETS[preset][1] | fields
    try:
        config = Config(preset=preset, **fields)
    except ValidationError as error:
        raise ResidualRLError(storage.explained(error)) from error
    config = replace(config, algorithm=_for_method(config.algorithm, config.method))
    if config.method == "scratch" and config.controller != "zero":
        raise ResidualRLError(
            f"method 'scratch' learns without a controller, not over {config.controller!r}; use method 'rpl' to improve one"
        )
    return changed(config, paths) if paths else config


def _for_method(algorithm: Algorithm, method: str) -> Algorithm:
    """Return the algorithm as it learns by a method. Raises ResidualRLError if it cannot."""
    if method in algorithm.methods:
        return algorithm.for_method(method)
    able = [name for name, (_, fields) in PRESETS.items() if method in fields["algorithm"].methods]
    raise ResidualRLError(
        f"algorithm {algorithm.name!r} has no method {method!r}: it needs preset {' or '.join(map(repr, able))}"
    )


def pace(episode_steps: float, lanes: int | None, preset: str) -> dict[str, int]:
    """Fields of `Config` for episodes of this mean length.

    Args:
        episode_steps: of the base alone.
        lanes: episodes in a cycle; None for as many as suit.
        preset: what is stretched; its burn-in only if its length is fixed.

    Raises:
        UnknownName: no such preset.
    """
    if preset not in PRESETS:
        raise UnknownName("preset", preset, PRESETS)
    own = PRESETS[preset][1]
    usual = {name: own.get(name, getattr(Config, name)) for name in PACED}
    lanes = lanes or _between(1, LONGEST_CYCLE / episode_steps, usual["episodes_per_cycle"])
    stretch = max(1.0, lanes * episode_steps / (usual["episodes_per_cycle"] * EPISODE_STEPS))
    evaluated = _between(FEWEST["evaluation_episodes"], EVALUATION_STEPS / episode_steps, usual["evaluation_episodes"])
    fields = {
        "episodes_per_cycle": lanes,
        "updates_per_cycle": round(usual["updates_per_cycle"] * stretch),
        "evaluation_episodes": evaluated,
        "evaluation_interval": max(usual["evaluation_interval"], round(evaluated * episode_steps)),
        "verdict_episodes": _between(FEWEST["verdict_episodes"], VERDICT_STEPS / episode_steps, usual["verdict_episodes"]),
    }
    burn_in = own["algorithm"].burn_in
    if isinstance(burn_in, FixedBurnIn):
        fields["algorithm.burn_in.cycles"] = math.ceil(burn_in.cycles / stretch)
        fields["algorithm.burn_in.updates"] = round(burn_in.updates * stretch)
    return fields


def bench_pace(steps: int) -> dict[str, int]:
    """Fields of `Config` for a single real plant, on which every episode costs time: few of them judge, and they judge seldom.

    48 pairs are at least enough for looks after 12 and 24, see `statistics.looks`.
    """
    return BENCH_EPISODES | {"evaluation_interval": max(1, steps // BENCH_EVALUATIONS)}


def paced(config: Config, task: Task, said: Iterable[str]) -> Config:
    """The configuration of a task of the library, with those fields that were not `said` adapted to its episodes' length.

    The published preset gets what was published for the task instead.
    """
    fields = pace(task.spec.horizon, None, "default") if config.preset == "default" else dict(task.published)
    if config.judging == "bench":
        fields |= bench_pace(config.steps)
    return unless_said(config, fields, said)


def unless_said(config: Config, fields: Mapping[str, Any], said: Iterable[str]) -> Config:
    """The configuration with those of the fields that nobody has `said`, neither themselves nor a part that they belong to."""
    mine = {name: value for name, value in fields.items() if not any(name == one or name.startswith(f"{one}.") for one in said)}
    return changed(config, mine)


def _between(least: int, value: float, most: int) -> int:
    return min(max(least, round(value)), most)
