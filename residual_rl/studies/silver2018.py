"""The experiments of Silver et al. 2018 on the Fetch robot: figures 3 and 4.

Source: the published scripts. Differs: their 19 processes are one process here, with one large batch, and one random draw
decides on exploration for all episodes of a burn-in cycle. MBRLPusher is missing, because the table of a planner's actions that
is its base is not in this repository. Expert-explore has the paper's shares, 0.6 and 0.8; the scripts had others for the push
tasks. On Push its learner sees the same observation as the others, not the simulator's state. The paper draws Push over the
planner and Push from scratch into one panel, although their actions differ by a factor of 10.
"""

from typing import Any

from residual_rl.studies.trial import INITIAL, Study, Trial

WORKERS = 19
PUSHES: dict[str, Any] = {
    "episodes_per_cycle": 2 * WORKERS,
    "batch_size": 256 * WORKERS,
    "replay_capacity": 250_000 * WORKERS,  # large enough that nothing is overwritten
    "evaluation_interval": 95_000,  # an epoch: 50 cycles of 38 episodes of 50 steps
    "evaluation_episodes": 500,
}
HOOKS: dict[str, Any] = {
    "evaluation_interval": 100_000,  # five epochs
    "evaluation_episodes": 500,
}
SEEDS = range(5)


def _silver2018(task: str, variant: str, seed: int, epochs: int, epoch_steps: int, fields: dict[str, Any]) -> Trial:
    method = INITIAL if variant == "initial" else variant
    return Trial(task, variant, seed, epochs * epoch_steps, method=method, preset="silver2018", fields=fields)


STUDY = Study(
    name="silver2018",
    summary="the published method beside its bases, expert-explore and learning from scratch",
    trials=(
        # In the paper, learning from scratch on Push uses the plain task, whose actions are not scaled.
        *(_silver2018(task, "initial", 0, 1, 1, PUSHES) for task in ("mpc-push", "slippery-push", "pick-and-place")),
        *(_silver2018(task, "initial", 0, 1, 1, HOOKS) for task in ("noisy-hook", "complex-hook")),
        *(
            trial
            for seed in SEEDS
            for trial in (
                _silver2018("mpc-push", "rpl", seed, 50, 95_000, PUSHES),
                _silver2018("mpc-push", "expert-explore", seed, 50, 95_000, PUSHES),
                _silver2018("push", "scratch", seed, 50, 95_000, PUSHES),
                _silver2018("slippery-push", "rpl", seed, 50, 95_000, PUSHES),
                _silver2018("slippery-push", "expert-explore", seed, 50, 95_000, PUSHES),
                _silver2018("slippery-push", "scratch", seed, 50, 95_000, PUSHES),
                _silver2018("pick-and-place", "rpl", seed, 50, 95_000, PUSHES),
                _silver2018("pick-and-place", "expert-explore", seed, 50, 95_000, PUSHES),
                _silver2018("pick-and-place", "scratch", seed, 50, 95_000, PUSHES),
                _silver2018("noisy-hook", "rpl", seed, 300, 20_000, HOOKS),
                _silver2018("noisy-hook", "expert-explore", seed, 300, 20_000, HOOKS),
                _silver2018("noisy-hook", "scratch", seed, 300, 20_000, HOOKS),
                _silver2018("complex-hook", "rpl", seed, 300, 20_000, HOOKS),
                _silver2018("complex-hook", "expert-explore", seed, 300, 20_000, HOOKS),
                _silver2018("complex-hook", "scratch", seed, 300, 20_000, HOOKS),
            )
        ),
    ),
    figures={
        "figure-3": ("mpc-push", "push", "slippery-push", "pick-and-place"),
        "figure-4": ("noisy-hook", "complex-hook"),
    },
    paper={
        ("mpc-push", "initial"): 0.5,
        ("mpc-push", "rpl"): 1.0,
        ("push", "scratch"): 1.0,
        ("slippery-push", "initial"): 0.45,
        ("slippery-push", "rpl"): 1.0,
        ("slippery-push", "scratch"): 1.0,
        ("pick-and-place", "initial"): 0.5,
        ("pick-and-place", "rpl"): 1.0,
        ("pick-and-place", "scratch"): 1.0,
        ("noisy-hook", "initial"): 0.15,
        ("noisy-hook", "rpl"): 0.8,
        ("noisy-hook", "scratch"): 0.0,
        ("complex-hook", "initial"): 0.55,
        ("complex-hook", "rpl"): 0.8,
        ("complex-hook", "scratch"): 0.0,
    },
)
