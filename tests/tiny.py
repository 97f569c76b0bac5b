"""Settings of a run that takes seconds."""

from typing import Any

from residual_rl.learning.actors import Actor
from residual_rl.learning.burn_in import FixedBurnIn
from residual_rl.learning.gated_ddpg import GatedDDPG

TINY: dict[str, Any] = {
    "algorithm": GatedDDPG(
        hidden=(32, 32),
        num_critics=2,
        burn_in=FixedBurnIn(cycles=2, updates=4),
        actors=(Actor(rate=1e-2, cautions=(3.0, 0.5)),),
    ),
    "episodes_per_cycle": 4,
    "updates_per_cycle": 4,
    "batch_size": 32,
    "steps": 1200,
    "evaluation_interval": 400,
    "evaluation_episodes": 5,
    "verdict_episodes": 10,
}
