"""The default learner, its base and the published learners with and without a controller: four tasks, five seeds."""

from residual_rl.studies import silver2018
from residual_rl.studies.trial import INITIAL, Study, Trial

EPISODES = 500
"""Episodes of an evaluation."""
BUDGETS = {"slippery-push": 250_000, "pick-and-place": 150_000, "push": 160_000, "noisy-hook": 1_000_000}
"""Environment steps. The bases are ReactivePush, the oscillating ReactivePickAndPlace, DiscreteMPC, ReactiveHook."""
BASES = {"push": "discrete-mpc"}
"""The controller, if it is not the task's default."""
INTERVALS = {"push": 20_000, "noisy-hook": 50_000}
"""Environment steps between evaluations, if not 10k: more for a base that plans, and for a long training."""


def evaluation_fields(task: str) -> dict[str, int]:
    """Return the fields that configure the evaluations of a trial."""
    return {"evaluation_interval": INTERVALS.get(task, 10_000), "evaluation_episodes": EPISODES}


def _controller(task: str, method: str) -> str | None:
    """Return the base, if it is not the task's default; learning from scratch has none."""
    return None if method == "scratch" else BASES.get(task)


STUDY = Study(
    name="default",
    summary="the default learner beside its base and three published learners, on four tasks",
    trials=(
        *(
            Trial(task, "initial", 0, 1, controller=BASES.get(task), method=INITIAL, fields=evaluation_fields(task))
            for task in BUDGETS
        ),
        *(
            Trial(task, variant, seed, steps, _controller(task, method), method, preset, evaluation_fields(task))
            for seed in range(5)
            for task, steps in BUDGETS.items()
            for variant, method, preset in (
                ("default", "rpl", "default"),
                ("silver2018", "rpl", "silver2018"),
                ("expert-explore", "expert-explore", "silver2018"),
                ("scratch", "scratch", "silver2018"),
            )
        ),
    ),
    paper={
        (task, "silver2018" if variant == "rpl" else variant): rate
        for (task, variant), rate in silver2018.STUDY.paper.items()
        if task in BUDGETS
    },
)
