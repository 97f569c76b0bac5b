"""How much of what in a cycle, for episodes of any length.

The presets are for episodes of 50 steps. Longer ones keep the same number of updates for each step, and the same steps of
burn-in; there are fewer of them in a cycle, and in evaluations, which would else cost more than the training. Where there are
too few lanes for a cycle of as many steps, it keeps its updates: more for each step, and burn-in has fewer steps.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from residual_rl.config import PRESETS, Config, changed
from residual_rl.errors import UnknownName
from residual_rl.learning.burn_in import FixedBurnIn
from residual_rl.tasks.task import Task

EPISODE_STEPS = 50  # of the episodes for which the presets are
LONGEST_CYCLE = 1600  # steps; where more than one episode fits into it
EVALUATION_STEPS = 20_000
VERDICT_STEPS = 100_000
PACED = ("episodes_per_cycle", "updates_per_cycle", "evaluation_episodes", "evaluation_interval", "verdict_episodes")
FEWEST = {"evaluation_episodes": 20, "verdict_episodes": 100}


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


def paced(config: Config, task: Task, said: Iterable[str]) -> Config:
    """The configuration of a task of the library, with those fields that were not `said` adapted to its episodes' length.

    The published preset gets what was published for the task instead.
    """
    return unless_said(config, pace(task.spec.horizon, None, "default") if config.preset == "default" else task.published, said)


def unless_said(config: Config, fields: Mapping[str, Any], said: Iterable[str]) -> Config:
    """The configuration with those of the fields that nobody has `said`, neither themselves nor a part that they belong to."""
    mine = {name: value for name, value in fields.items() if not any(name == one or name.startswith(f"{one}.") for one in said)}
    return changed(config, mine)


def _between(least: int, value: float, most: int) -> int:
    return min(max(least, round(value)), most)
