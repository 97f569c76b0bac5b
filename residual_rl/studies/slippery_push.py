"""The default learner and the published one on SlipperyPush: the numbers and the figure of the README."""

from residual_rl.studies.trial import Study, Trial

EVALUATED = {"evaluation_interval": 10_000, "evaluation_episodes": 500}

STUDY = Study(
    name="slippery-push",
    summary="the default learner and the published one over ReactivePush on SlipperyPush",
    trials=(
        *(Trial("slippery-push", "default", seed, steps=250_000, fields=EVALUATED) for seed in range(5)),
        Trial("slippery-push", "silver2018", seed=0, steps=300_000, preset="silver2018", fields=EVALUATED),
    ),
    paper={("slippery-push", "silver2018"): 1.0},
)
