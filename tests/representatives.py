"""One task for each world. Their variants are the same code with other data: other noise, objects, weights.

House rules are tried on representatives; what a variant's data change is tested where they are defined, and every task has a
golden rollout. Racing, Adroit and Mime tasks have no goals and end their episodes early: test_racing_*.py, test_adroit.py and
test_mime.py are about them.
"""

from residual_rl.tasks import TASKS
from residual_rl.tasks.ending import EndingTask

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
    *(name for name, task in TASKS.items() if isinstance(task, EndingTask)),
)
REPRESENTATIVES = {name: task for name, task in TASKS.items() if name not in VARIANTS}
