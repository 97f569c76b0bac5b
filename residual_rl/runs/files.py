"""The names of the files of a run directory, and the columns of its tables: docs/reference/run-directory.md."""

METRICS = ("step", "wall_seconds", "acting_success_rate", "acting_mean_return", "burn_in", "driven_by_residual")
"""The first columns of `metrics.csv`, before those of the algorithm."""
LAST_METRICS = ("dropped_episodes",)
EVALUATIONS = (
    "step",
    "wall_seconds",
    "episodes",
    "success_rate",
    "low",
    "high",
    "mean_return",
    "return_low",
    "return_high",
    "deviation",
    "base_success_rate",
    "base_mean_return",
    "base_return_low",
    "base_return_high",
    "fixed",
    "broken",
    "mean_time",
    "time_low",
    "time_high",
    "base_mean_time",
)
FORMAT = 1
"""The format of every file of a run; other formats are refused."""
CONFIG, VERDICT, DIAGNOSIS, ENVIRONMENT = "config.json", "verdict.json", "diagnosis.json", "environment.json"
REPEATABILITY, JUDGEMENTS = "repeatability.json", "judgements.json"
CHECKPOINT, POLICY = "checkpoint.safetensors", "policy.safetensors"
METRICS_CSV, EVALUATIONS_CSV = "metrics.csv", "evaluations.csv"
BASE = "base"
"""The directory of a base with weights, and of its preparation."""
ENCODER = "encoder"
"""The directory of an encoder with weights."""
ARTEFACT, PREPARATION = "artefact.json", "preparation.json"
