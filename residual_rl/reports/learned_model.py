"""Show how good the learned model of a run's base is: its error over the horizon, its calibration, the cost of its planner."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from residual_rl.optional import REPORTS, need
from residual_rl.reports.figures import BASE_COLOR, COLORS, Rows, dress
from residual_rl.runs.reading import BASE, read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEARNING = "model/learning.csv"  # in the folder of the base
RECENT = 10  # episodes, of the errors shown


class LearnedModel(NamedTuple):
    """What is known of a model that a run has learned."""

    rows: Rows
    """Of its episodes."""
    horizon: np.ndarray
    """[H] steps ahead."""
    error: np.ndarray
    """[H] root mean square error in the most recent episodes, each predicted before the model saw it."""
    predicted: np.ndarray
    """[H] the deviation that the model predicted."""
    covered: np.ndarray
    """[H] share of what happened within two predicted deviations."""
    milliseconds: float
    """Wall time of an environment step with its plan."""

    @property
    def numbers(self) -> dict[str, str]:
        """Return the numbers of the report by name."""
        last = self.rows[-RECENT:]
        return {
            "episodes, steps": f"{len(self.rows)}, {self.rows[-1]['step']:,.0f}",
            f"mean return of the last {len(last)}": f"{np.mean([row['return'] for row in last]):.1f}",
            "a step with its plan": f"{self.milliseconds:.0f} ms",
            f"within two deviations, {self.horizon[-1]} steps ahead": f"{self.covered[-1]:.2f}, of 0.95",
        }


def read_learned_model(path: Path) -> LearnedModel | None:
    """Return what is known of the learned model in a run's directory; None if it has none, or of one episode only.

    Raises:
        RunError: the file is damaged.
    """
    rows = read_rows(path / BASE / LEARNING)
    if len(rows) < 2:
        return None
    ahead = sorted(int(found[1]) for name in rows[-1] if (found := re.fullmatch(r"error_(\d+)", name)))
    recent = rows[1:][-RECENT:]

    def mean(kind: str) -> np.ndarray:
        return np.array([np.mean([row[f"{kind}_{steps}"] for row in recent]) for steps in ahead])

    steps = np.diff([row["step"] for row in rows])[-len(recent) :]
    milliseconds = 1000.0 * sum(row["seconds_acting"] for row in recent) / steps.sum()
    return LearnedModel(rows, np.array(ahead), mean("error"), mean("predicted"), mean("covered"), float(milliseconds))


def draw_learned_model(model: LearnedModel, width: float) -> "Figure":
    """Draw the return over the episodes, and the errors over the horizon beside the predicted deviations."""
    need("matplotlib", *REPORTS)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 0.42 * width), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([row["step"] for row in model.rows], [row["return"] for row in model.rows], color=COLORS[0], lw=1.2)
    left.set_xlabel("environment steps", fontsize=8.5, color="#555")
    dress(left, "return of each episode")
    right.plot(model.horizon, model.error, "o-", ms=3, color=COLORS[0], lw=1.2, label="error")
    right.plot(model.horizon, model.predicted, "o--", ms=3, color=BASE_COLOR, lw=1.2, label="predicted deviation")
    right.set_ylim(bottom=0.0)
    right.set_xlabel("steps ahead", fontsize=8.5, color="#555")
    right.legend(fontsize=8, frameon=False)
    dress(right, "prediction, in deviations of each entry")
    return figure
