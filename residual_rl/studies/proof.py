"""Environments for which the learner was not designed, each improved by the same call with default settings."""

from residual_rl.studies.trial import Study, Trial
from residual_rl.studies.worlds import WORLDS

STEPS = 300_000
SMALLER: dict[str, int] = {"pendulum": 100_000, "ball-on-beam": 100_000}
"""Budgets of environments that need fewer steps."""

STUDY = Study(
    name="proof",
    summary="default settings in environments of other projects, the cheapest first",
    trials=tuple(Trial(world, "default", seed, SMALLER.get(world, STEPS)) for seed in range(3) for world in WORLDS),
)
