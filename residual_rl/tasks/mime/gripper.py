"""The gripper is opened, closing, closed or opening. A negative command closes it, a positive one opens it, 0 holds it."""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot read.

from typing import NamedTuple

import mujoco
import numpy as np

from residual_rl.tasks.mime.models import CLOSED, FINGERS, OPENED
from residual_rl.tasks.physics import state_columns


class Motion(NamedTuple):
    """A motion of the gripper: the mode while it lasts, and when it is done."""

    under_way: int
    done: int


CLOSE, OPEN = Motion(1, 2), Motion(3, 0)
RATE = 0.192
"""rad/s for a command of 1."""
BLOCKED = 0.06
"""rad: a finger that is this far behind its target is blocked."""
SQUEEZE = 0.08
"""rad, by which the target of a blocked finger stays ahead of it: about 2 N."""


class Gripper:
    """The columns of the fingers in a physics state, and how they stop."""

    def __init__(self, model: mujoco.MjModel):
        names = [f"{name}_{part}" for name, _, _ in FINGERS for part in ("first", "tip")]
        self.columns = [state_columns(model, name)[0].start for name in names]
        self._first = self.columns[::2]

    def controls(self, drives: np.ndarray) -> np.ndarray:
        """Return the targets of the fingers' motors `[E, 6]` for drives `[E, 3]`."""
        return finger_targets(drives)

    def look(self, physics: np.ndarray, mode: np.ndarray, drives: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mode `[E]` and drives `[E, 3]` after a step, and whether a finger is blocked `[E]` bool."""
        turned = OPENED - physics[:, self._first]
        closing = (mode == CLOSE.under_way)[:, None]
        blocked = (mode == CLOSE.done)[:, None] | (drives - turned > BLOCKED)
        drives = np.where(closing & (drives - turned > BLOCKED), np.minimum(drives, turned + SQUEEZE), drives)
        done = (blocked | (drives >= CLOSED)).all(axis=1)
        mode = np.where(closing[:, 0] & done, CLOSE.done, mode)
        mode = np.where((mode == OPEN.under_way) & (drives <= 0.0).all(axis=1), OPEN.done, mode)
        return mode, drives, np.asarray((drives - turned > BLOCKED / 2).any(axis=1))


def finger_targets(drives: np.ndarray) -> np.ndarray:
    """Return the angles of both phalanges of each finger `[E, 6]`; the second stays upright."""
    first = OPENED - drives
    return np.stack([first, -first], axis=2).reshape(len(drives), -1)


def moved(mode: np.ndarray, drives: np.ndarray, command: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Return mode `[E]` and drives `[E, 3]` for a command `[E]` in [-2, 2]."""
    starts_closing = (command < 0) & (mode != CLOSE.done)
    starts_opening = (command > 0) & (mode != OPEN.done)
    mode = np.where(starts_closing, CLOSE.under_way, np.where(starts_opening, OPEN.under_way, mode))
    change = np.where(starts_closing | starts_opening, -command * RATE * seconds, 0.0)
    return mode, np.clip(drives + change[:, None], 0.0, CLOSED)
