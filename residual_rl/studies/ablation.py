"""Ablation: the default learner without one of its parts at a time, on two tasks."""

from typing import Any

from residual_rl.presets import PRESETS
from residual_rl.storage import to_json
from residual_rl.studies.trial import Study, Trial

EVALUATED = {"evaluation_interval": 20_000, "evaluation_episodes": 500, "verdict_episodes": 100}
ABLATED_TASKS = ("slippery-push", "pick-and-place")
STEPS = 60_000
_SMALL, _FREE = (to_json(actor) for actor in PRESETS["default"][1]["algorithm"].actors)
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "naive-relabelling": {"algorithm.composition.relabel": "keep"},
    "no-bandit": {"algorithm.bandit.least_share": 1.0},
    "no-gate": {"algorithm.actors.0.cautions": [None], "algorithm.actors.1.cautions": [None]},
    "one-caution": {"algorithm.actors.1.cautions": [3.0]},
    "small-actor-alone": {"algorithm.actors": [_SMALL]},
    "free-actor-alone": {"algorithm.actors": [_FREE]},
    "no-cautious-target": {"algorithm.pessimism": 0.0},
    "no-average": {"algorithm.average_rate": 1.0},
    "all-achieved-goals": {"hindsight.keep_achieved_ratio": 1.0},
    "half-the-updates": {"updates_per_cycle": 160},
    "half-explores": {"algorithm.exploring_ratio": 1.0},
}
"""Name: the fields that the variant changes. `docs/learner.md` describes the parts and the results."""

STUDY = Study(
    name="ablation",
    summary="the default learner without one of its parts at a time, on two tasks",
    trials=tuple(
        Trial(task, variant, seed, STEPS, fields=EVALUATED | fields)
        for seed in range(3)
        for task in ABLATED_TASKS
        for variant, fields in VARIANTS.items()
    ),
)
