"""The default learner and the published one on SlipperyPush: the numbers and the figure of the README."""

from residual_rl.studies.trial import Study, Trial

EVALUATED = {"evaluation_interval": 10_000, "evaluation_episodes": 500}

STUDY = Study(
    name="slippery-push",
    summary="the default learner and the published one over ReactivePush on SlipperyPush",
    trials=(
        Trial("slippery-push", "default", seed=0, steps=250_000, fields=EVALUATED),
        Trial("slippery-push", "default", seed=1, steps=250_000, fields=EVALUATED),
        Trial("slippery-push", "default", seed=2, steps=250_000, fields=EVALUATED),
        Trial("slippery-push", "silver2018", seed=0, steps=300_000, preset="silver2018", fields=EVALUATED),
    ),
)
