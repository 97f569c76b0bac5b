"""Worlds that the learner was not developed on, each improved by the same call with default settings."""

from residual_rl.studies.trial import Study, Trial
from residual_rl.studies.worlds import WORLDS

STEPS = 300_000
EARLIER: dict[str, int] = {"pendulum": 100_000, "ball-on-beam": 100_000}
"""Budgets of those that need less."""

STUDY = Study(
    name="proof",
    summary="default settings in worlds of others, the cheap ones first",
    trials=tuple(Trial(world, "default", seed, EARLIER.get(world, STEPS)) for seed in range(3) for world in WORLDS),
)
