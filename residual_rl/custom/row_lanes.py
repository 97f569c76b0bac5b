"""Environments that are stepped as rows of numbers, as lanes."""

from collections.abc import Sequence

import numpy as np

from residual_rl.custom.row_env import FLAGS
from residual_rl.custom.rows import ProcessRows, SerialRows
from residual_rl.spaces import Layout
from residual_rl.tasks.lanes import Stepped
from residual_rl.types import Observation, Spec


class RowLanes:
    """Rows split into observations, and actions brought into the environment's units."""

    def __init__(self, rows: SerialRows | ProcessRows, layout: Layout, spec: Spec):
        self.rows = rows
        self.layout = layout
        self.task_spec = spec
        self.horizon = spec.horizon
        self.num_envs = rows.num_envs
        self.tells_success = False
        """Whether any has ever said if an episode is a success."""

    def reset(self, *, seed: Sequence[int] | None = None) -> tuple[Observation, dict[str, object]]:
        """Starts an episode in each lane.

        Raises:
            WorldError: a process has ended.
        """
        rows, errors = self.rows.reset(seed)
        return self.layout.split(rows), {"errors": errors}

    def step(self, actions: np.ndarray) -> Stepped:
        """One action `[E, A]` in [-1, 1] in every lane.

        Raises:
            WorldError: a process has ended.
        """
        rows, reward, errors = self.rows.step(self.layout.to_world(actions))
        flags = rows[:, -FLAGS:].T
        terminated, truncated, success = flags == 1.0
        self.tells_success = self.tells_success or not np.isnan(flags[-1]).all()
        return self.layout.split(rows), reward, terminated, truncated, {"is_success": success, "errors": errors}

    def close(self) -> None:
        """Does nothing: they are lent, and used again."""
