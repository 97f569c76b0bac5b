"""The default learner over three drivers of a 1:10 car, judged by race time on tracks that training never shows."""

from residual_rl.studies.trial import INITIAL, Study, Trial

STEPS = 500_000
"""Environment steps, some 380 races."""
SEEDS = {"pure-pursuit": 3, "follow-the-gap": 1, "potential-field": 1}
"""Drivers, and how many trainings over each."""
FIELDS = {
    "episodes_per_cycle": 16,
    "updates_per_cycle": 800,
    "evaluation_interval": 50_000,
    "evaluation_episodes": 60,
    "verdict_episodes": 300,
}
"""A race has some 1300 steps. 16 cars at once make acting cheap, an update every 26 steps keeps a training below an hour."""
ATTENUATED = FIELDS | {"algorithm.composition.attenuation": [0.3, 0.7]}

STUDY = Study(
    name="racing",
    summary="race times over three drivers on tracks that training never shows, and a network that stands alone in the end",
    trials=(
        *(Trial("racing", f"{driver}-alone", 0, 1, driver, INITIAL, fields=FIELDS) for driver in SEEDS),
        *(
            Trial("racing", f"over-{driver}", seed, STEPS, driver, fields=FIELDS)
            for driver, seeds in SEEDS.items()
            for seed in range(seeds)
        ),
        Trial("racing", "attenuated", 0, STEPS, "pure-pursuit", fields=ATTENUATED),
    ),
)
