"""The scripts that solve the Mime tasks from state: straight moves with trapezoidal speed, and commands for the gripper.

They are stateful: where a move goes is planned when it begins. Source: Alakuijala et al. 2021 and its environments, except for
pushing.
"""

from collections.abc import Callable, Generator

import numpy as np

from residual_rl.types import Observation

STEP_SECONDS = 0.1
RAMP_SECONDS = 1.0
GRIP, TOOL, FIRST, SECOND = 0, slice(5, 8), slice(8, 11), slice(11, 14)
"""Columns of an observation: `FIRST` is the cube, in `bowl` the bowl; `SECOND` is then the cube."""
LONGEST_CLOSING, LONGEST_OPENING = 30, 50
"""Steps. Differs: published with 20 for closing; our fingers need up to 30."""
HOLD, CLOSING, OPENING = 0.0, -1.0, 1.0
STANDING = 0.004
"""rad in a step, below which the gripper stands still."""
PLACE = np.array([0.5, 0.0])
"""m, where `place-push` wants the cube."""

Script = Generator[np.ndarray, np.ndarray, None]
"""Yields an action `[4]` and receives the next observation `[O]`."""


class MimeScript:
    """A script in every lane.

    Args:
        script: makes it from an episode's first observation and the largest speed in m/s.
        fastest: that speed.
    """

    reads_goal = False
    is_random = False

    def __init__(self, script: Callable[[np.ndarray, float], Script], fastest: float):
        self.script = script
        self.fastest = fastest
        self._running: list[Script | None] = []
        self._fresh = np.zeros(0, dtype=bool)

    def __deepcopy__(self, memo: dict[int, object]) -> "MimeScript":
        """Return another one, which has not begun."""
        return MimeScript(self.script, self.fastest)

    def reset(self, mask: np.ndarray) -> None:
        """Begin anew in the lanes `mask` `[E]` bool."""
        if len(self._running) != len(mask):
            self._running = [None] * len(mask)
            self._fresh = np.ones(len(mask), dtype=bool)
        self._fresh = self._fresh | mask

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> base_action [B, 4]`."""
        rows = observation["observation"]
        actions = np.zeros((len(rows), 4))
        for lane, row in enumerate(rows):
            if self._fresh[lane]:
                self._running[lane] = self.script(row, self.fastest)
                action = next(self._running[lane], None)  # type: ignore[arg-type]
            else:
                action = _next(self._running[lane], row)
            if action is None:
                self._running[lane] = None
            else:
                actions[lane] = action
        self._fresh[:] = False
        return actions


def _next(running: Script | None, row: np.ndarray) -> np.ndarray | None:
    if running is None:
        return None
    try:
        return running.send(row)
    except StopIteration:
        return None


Part = Generator[np.ndarray, np.ndarray, np.ndarray]
"""A part of a script: it returns the last observation."""


def pick(row: np.ndarray, fastest: float) -> Script:
    """Go above the cube, down to it, close, and lift it."""
    row = yield from _rise(row, 2 * row[FIRST][2] + 0.05, fastest)
    row = yield from _move(row, row[FIRST] + (0.0, 0.0, 0.10), fastest)
    row = yield from _move(row, row[FIRST] + (0.0, 0.0, 0.01), fastest)
    row = yield from _grip(row, CLOSING, LONGEST_CLOSING)
    row = yield _action(HOLD)
    yield from _move(row, row[FIRST] + (0.0, 0.0, 0.12), fastest)


def bowl(row: np.ndarray, fastest: float) -> Script:
    """Pick the cube up, carry it over the bowl, and let go."""
    height = 2 * row[SECOND][2]
    row = yield from _rise(row, 0.16, fastest)
    row = yield from _move(row, row[SECOND] + (0.0, 0.0, height / 2 + 0.08), fastest)
    row = yield from _move(row, row[SECOND] + (0.0, 0.0, 0.01), fastest)
    row = yield from _grip(row, CLOSING, LONGEST_CLOSING)
    row = yield _action(HOLD)
    row = yield from _move(row, row[TOOL] + (0.0, 0.0, 0.11), fastest)
    row = yield from _move(row, row[FIRST] + (0.0, 0.0, row[FIRST][2] + height + 0.08), fastest)
    yield from _grip(row, OPENING, LONGEST_OPENING)


def push(row: np.ndarray, fastest: float) -> Script:
    """Close, go behind the cube, down, and push it to its place from right behind it; begin again if the cube slips away."""
    row = yield from _grip(row, CLOSING, 30)
    while True:
        edge = 2 * row[FIRST][2]
        row = yield from _rise(row, edge + 0.08, fastest)
        behind = row[FIRST][:2] + _behind(row) * (edge / 2 + 0.06)
        row = yield from _move(row, np.array([*behind, edge + 0.08]), fastest)
        row = yield from _move(row, np.array([*behind, 0.03]), fastest)
        while True:
            away = _behind(row)
            aside = row[TOOL][:2] - row[FIRST][:2]
            if aside @ away < edge / 2 - 0.01:
                break
            aside = aside - (aside @ away) * away
            slow = max(0.0, 1.0 - float(np.linalg.norm(aside)) / 0.015)
            velocity = -0.6 * fastest * slow * away - 4.0 * aside
            speed = max(float(np.linalg.norm(velocity)), 1e-9)
            row = yield _action(HOLD, np.array([*(velocity * min(1.0, fastest / speed)), 0.0]) / fastest)


def _rise(row: np.ndarray, height: float, fastest: float) -> Part:
    """Rise to a height in m, if the tool is lower: on a straight way to above the cube it could hit it.

    Differs: the published scripts go there at once.
    """
    low = row[TOOL][2] < height
    return (yield from _move(row, np.array([*row[TOOL][:2], height]), fastest)) if low else row


def _behind(row: np.ndarray) -> np.ndarray:
    """Return the direction from the place to the cube, in the plane: `[2]`."""
    away = row[FIRST][:2] - PLACE
    return away / max(float(np.linalg.norm(away)), 1e-6)


def _move(row: np.ndarray, to: np.ndarray, fastest: float) -> Part:
    """Move in a straight line; the speed is a trapezoid over time."""
    way = to - row[TOOL]
    distance = float(np.linalg.norm(way))
    if distance < 1e-6:
        return row
    travel = distance / fastest
    ramp = min(RAMP_SECONDS, travel)
    for step in range(int(np.ceil((travel + ramp) / STEP_SECONDS))):
        seconds = (step + 0.5) * STEP_SECONDS
        share = max(0.0, min(1.0, seconds / ramp, (travel + ramp - seconds) / ramp))
        row = yield _action(HOLD, way / distance * share)
    return row


def _grip(row: np.ndarray, command: float, longest: int) -> Part:
    """Close or open until the fingers stand still."""
    still = 0
    for _ in range(longest):
        before = row[GRIP]
        row = yield _action(command)
        still = still + 1 if abs(row[GRIP] - before) < STANDING else 0
        if still == 2:
            break
    return row


def _action(grip: float, velocity: np.ndarray | None = None) -> np.ndarray:
    return np.array([*(np.zeros(3) if velocity is None else velocity), grip])
