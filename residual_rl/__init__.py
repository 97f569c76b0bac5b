"""residual-rl: improve the controller you already have, and know that it never got worse.

    import residual_rl

    run = residual_rl.improve("slippery-push", controller=my_push, steps=100_000, seed=0, out="runs/my-push")
    print(run.verdict())
    policy = residual_rl.load("runs/my-push", controller=my_push)
    action = policy(observation)

Importing it registers its tasks with Gymnasium, as `residual_rl/<Task>-v0`.
"""

from typing import TYPE_CHECKING, Any

from residual_rl.controllers import batched, chunked, in_processes, per_lane, remote
from residual_rl.tasks import TASKS, VISUAL

if TYPE_CHECKING:
    from residual_rl.api import compare, diagnose, evaluate, export, improve, load
    from residual_rl.bundles.hub import pull, push
    from residual_rl.imitation.cloning import clone
    from residual_rl.imitation.recording import record
    from residual_rl.judging.runs import judge, reevaluate

__all__ = [
    "batched",
    "chunked",
    "clone",
    "compare",
    "diagnose",
    "evaluate",
    "export",
    "improve",
    "in_processes",
    "judge",
    "load",
    "per_lane",
    "pull",
    "push",
    "record",
    "reevaluate",
    "remote",
]

_LAZY = {
    **dict.fromkeys(("compare", "diagnose", "evaluate", "export", "improve", "load"), "api"),
    **dict.fromkeys(("judge", "reevaluate"), "judging.runs"),
    **dict.fromkeys(("pull", "push"), "bundles.hub"),
    "clone": "imitation.cloning",
    "record": "imitation.recording",
}

for _task in (*TASKS.values(), *VISUAL.values()):
    _task.register()


def __getattr__(name: str) -> Any:
    # Whoever only wants the environments need not wait for JAX.
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"residual_rl.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
