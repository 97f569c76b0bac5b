"""How much of what in a cycle, for episodes of any length.

The defaults of `Config` are for episodes of 50 steps. Longer ones keep the same number of updates for each step, and the same
steps of burn-in; there are fewer of them in a cycle, and in evaluations, which would else cost more than the training.
"""

import math

from residual_rl.config import PRESETS, Config
from residual_rl.learning.burn_in import FixedBurnIn

CYCLE_STEPS = 400  # of a cycle, for which the defaults are: 8 episodes of 50 steps
LONGEST_CYCLE = 1600  # steps; where more than one episode fits into it
EVALUATION_STEPS = 20_000
VERDICT_STEPS = 100_000
FEWEST = {"evaluation_episodes": 20, "verdict_episodes": 100}


def pace(episode_steps: float, lanes: int | None, preset: str) -> dict[str, int]:
    """Fields of `Config` for episodes of this mean length.

    Args:
        episode_steps: of the base alone.
        lanes: episodes in a cycle; None for as many as suit.
        preset: whose burn-in is stretched, if its length is fixed.
    """
    lanes = lanes or _between(1, LONGEST_CYCLE / episode_steps, Config.episodes_per_cycle)
    stretch = max(1.0, lanes * episode_steps / CYCLE_STEPS)
    evaluated = _between(FEWEST["evaluation_episodes"], EVALUATION_STEPS / episode_steps, Config.evaluation_episodes)
    fields = {
        "episodes_per_cycle": lanes,
        "updates_per_cycle": round(Config.updates_per_cycle * stretch),
        "evaluation_episodes": evaluated,
        "evaluation_interval": max(Config.evaluation_interval, round(evaluated * episode_steps)),
        "verdict_episodes": _between(FEWEST["verdict_episodes"], VERDICT_STEPS / episode_steps, Config.verdict_episodes),
    }
    burn_in = PRESETS[preset][1]["algorithm"].burn_in if preset in PRESETS else None
    if isinstance(burn_in, FixedBurnIn):
        fields["algorithm.burn_in.cycles"] = math.ceil(burn_in.cycles / stretch)
        fields["algorithm.burn_in.updates"] = round(burn_in.updates * stretch)
    return fields


def _between(least: int, value: float, most: int) -> int:
    return min(max(least, round(value)), most)
