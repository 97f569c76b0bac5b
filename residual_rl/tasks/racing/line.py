"""The line of least curvature between the walls of a track, and how fast a car can drive along a line."""

import numpy as np
import scipy

from residual_rl.tasks.racing.track import PER_WALL_POINT, Track

MARGIN = 0.4
"""m from the car's middle to a wall, at least: half its width, and room to miss the line by."""
ACTIVE_SET_ROUNDS = 60
ROUNDS = 3
"""Times that the curvature is linearised again at the line found."""


def least_curvature(track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Return the line that bends least, beside each point of the centre line: `[N, 2]` m, and its curvature `[N]` 1/m.

    It minimises the sum of squared second differences of points that may move across the track, as a bounded linear
    least-squares problem. Source: the minimum-curvature line of Heilmeier et al. 2019 (Vehicle System Dynamics 58),
    whose quadratic program is this one but for how curvature is linearised.
    """
    step = 2 * PER_WALL_POINT
    centre, normal = track.position[::step], track.normal[::step]
    low, high = MARGIN - track.right[::step], track.left[::step] - MARGIN
    low, high = np.minimum(low, -1e-3), np.maximum(high, 1e-3)
    count = len(centre)
    ahead, behind = np.roll(np.arange(count), -1), np.roll(np.arange(count), 1)
    offset = np.zeros(count)
    for _ in range(ROUNDS):
        line = centre + offset[:, None] * normal
        across = _normals(line)
        gap = np.linalg.norm(line[ahead] - line, axis=1)
        before, mean = gap[behind], (gap + gap[behind]) / 2
        # The second derivative along the line, of its parts across the line.
        matrix = np.zeros((count, count))
        rows = np.arange(count)
        for column, weight in (
            (ahead, 1 / (gap * mean)),
            (behind, 1 / (before * mean)),
            (rows, -(1 / gap + 1 / before) / mean),
        ):
            matrix[rows, column] = weight
        bends = np.einsum("ij,jd,id->ij", matrix, normal, across)
        target = -np.einsum("ij,jd,id->i", matrix, centre, across)
        weighted = mean[:, None] * bends
        offset = bounded_minimum(weighted.T @ bends, weighted.T @ target, low, high)
    between = scipy.interpolate.CubicSpline(step * np.arange(count + 1), np.append(offset, offset[0]), bc_type="periodic")
    line = track.beside(between(np.arange(len(track.position))))
    return line, curvature_of(line)


def bounded_minimum(hessian: np.ndarray, linear: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return where `x' H x / 2 - f' x` is least, of `x` `[N]` between bounds, for H `[N, N]` positive definite.

    By the primal-dual active-set method: which entries lie at a bound is guessed, the others solved for, and the guess
    corrected by the signs of the multipliers. Source: Bergounioux, Ito and Kunisch 1999 (SIAM J. Control Optim. 37).
    """
    x, force = np.clip(np.zeros(len(low)), low, high), np.zeros(len(low))
    scale = np.abs(np.diag(hessian))
    held: np.ndarray | None = None
    for _ in range(ACTIVE_SET_ROUNDS):
        at_low, at_high = x + force / scale < low, x + force / scale > high
        if held is not None and np.array_equal(held, np.stack([at_low, at_high])):
            break
        held = np.stack([at_low, at_high])
        free = ~(at_low | at_high)
        x = np.where(at_low, low, np.where(at_high, high, 0.0))
        x[free] = scipy.linalg.solve(
            hessian[np.ix_(free, free)], linear[free] - hessian[np.ix_(free, ~free)] @ x[~free], assume_a="pos"
        )
        force = np.where(free, 0.0, linear - hessian @ x)
    return np.clip(x, low, high)


def curvature_of(line: np.ndarray) -> np.ndarray:
    """Return the curvature `[N]` 1/m of a closed line `[N, 2]` m, positive to the left, smoothed over a few points."""
    side = np.roll(line, -1, axis=0) - line
    angle = np.arctan2(side[:, 1], side[:, 0])
    turn = angle - np.roll(angle, 1)
    turn = (turn + np.pi) % (2 * np.pi) - np.pi
    gap = np.linalg.norm(side, axis=1)
    return _smoothed(2 * turn / (gap + np.roll(gap, 1)), PER_WALL_POINT)


def _normals(line: np.ndarray) -> np.ndarray:
    along = np.roll(line, -1, axis=0) - np.roll(line, 1, axis=0)
    along /= np.linalg.norm(along, axis=1)[:, None]
    return along[:, ::-1] * np.array([-1.0, 1.0])


def _smoothed(values: np.ndarray, width: int) -> np.ndarray:
    """The mean over `2 * width + 1` neighbours on a closed line."""
    return np.mean([np.roll(values, shift) for shift in range(-width, width + 1)], axis=0)
