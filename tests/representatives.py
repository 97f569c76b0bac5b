"""One task for each world. Their variants are the same code with other data: other noise, objects, weights.

House rules are tried on representatives; what a variant's data change is tested where they are defined, and every task has a
golden rollout. Racing has no goals and ends its episodes early: test_racing_*.py is about it.
"""

from residual_rl.tasks import TASKS

VARIANTS = (
    "slippery-push-published-friction",
    "noisy-hook-as-described",
    "mbrl-pusher-as-described",
    "complex-hook-test",
    "complex-hook-only-bumps",
    "complex-hook-only-objects",
    "complex-hook-published-bumps",
    "complex-hook-centered-origins",
    "racing",
    "racing-validation",
    "racing-test",
)
REPRESENTATIVES = {name: task for name, task in TASKS.items() if name not in VARIANTS}
