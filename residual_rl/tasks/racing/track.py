"""A closed race track: a centre line with a width to either side, checked for what a car cannot drive.

Source of the format that users bring: `x_m, y_m, w_tr_right_m, w_tr_left_m`, as the racing community exchanges tracks.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

from residual_rl.errors import ResidualRLError

SPACING = 0.3
"""m at most, between two points of a wall along the centre line."""
PER_WALL_POINT = 6
"""Points of the centre line for each point of a wall."""
NARROWEST = 0.8
"""m between the walls, at least: some 2.5 times the car's width."""
LEAST_HALF_WIDTH = 0.2
"""m from the centre line to either wall, at least."""
TIGHTEST_RADIUS = 0.8
"""m of the centre line, at least: the car at full lock turns with 0.74 m."""
LEAST_STRETCH = 0.1
"""The inner wall of a bend is at least this share of the centre line's length; at 0 it would fold."""
SHORTEST = 15.0
"""m, length of a lap, at least."""


class TrackError(ResidualRLError):
    """A track that cannot be driven, or a file that holds none."""


@dataclass(frozen=True, eq=False)
class Track:
    """A track, sampled evenly along its centre line. It closes: after the last point comes the first."""

    name: str
    position: np.ndarray
    """[N, 2] m, the centre line. N is a multiple of `2 * PER_WALL_POINT`."""
    direction: np.ndarray
    """[N, 2] the centre line's unit tangent."""
    curvature: np.ndarray
    """[N] 1/m of the centre line, positive to the left."""
    right: np.ndarray
    """[N] m from the centre line to the right wall."""
    left: np.ndarray
    """[N] m from the centre line to the left wall."""
    length: float
    """m, of a lap along the centre line."""

    @property
    def normal(self) -> np.ndarray:
        """[N, 2] unit vectors to the left."""
        return self.direction[:, ::-1] * np.array([-1.0, 1.0])

    def beside(self, offset: np.ndarray) -> np.ndarray:
        """Points `[N, 2]` m that lie `offset` `[N]` m to the left of the centre line."""
        return self.position + offset[:, None] * self.normal

    @cached_property
    def walls(self) -> tuple[np.ndarray, np.ndarray]:
        """The right and the left wall: corners `[N / PER_WALL_POINT, 2]` m of closed polygons."""
        return self.beside(-self.right)[::PER_WALL_POINT], self.beside(self.left)[::PER_WALL_POINT]


def track_through(name: str, points: np.ndarray, right: np.ndarray, left: np.ndarray) -> Track:
    """Return the track whose centre line is the closed cubic spline through some points.

    Args:
        name: of the track.
        points: `[K, 2]` m, in driving order; the first is not repeated at the end.
        right: `[K]` m from each point to the right wall.
        left: `[K]` m from each point to the left wall.

    Raises:
        TrackError: it has too few points or cannot be driven; says what is wrong, and at which place.
    """
    if len(points) < 4:
        raise TrackError(f"track {name!r} has {len(points)} points; a closed centre line needs 4 at least")
    closed = np.column_stack([points, right, left])
    closed = np.concatenate([closed, closed[:1]])
    gaps = np.linalg.norm(np.diff(closed[:, :2], axis=0), axis=1)
    if not gaps.all():
        row = int(np.argmin(gaps))
        raise TrackError(f"track {name!r} has the same point twice, one after the other: {_place(points[row])}")
    spline = scipy.interpolate.CubicSpline(np.concatenate([[0.0], np.cumsum(gaps)]), closed, bc_type="periodic")
    fine = np.linspace(0.0, spline.x[-1], 20_000 + 40 * len(points))
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(spline(fine)[:, :2], axis=0), axis=1))])
    length = float(travelled[-1])
    if length < SHORTEST:
        raise TrackError(f"a lap of track {name!r} is {length:.1f} m long; {SHORTEST:g} m at least are needed")
    count = 2 * PER_WALL_POINT * int(np.ceil(length / (2 * SPACING)))
    at = np.interp(np.arange(count) * length / count, travelled, fine)
    (x, y, right, left), (dx, dy, *_), (ddx, ddy, *_) = (spline(at, order).T for order in range(3))
    speed = np.hypot(dx, dy)
    track = Track(
        name=name,
        position=np.column_stack([x, y]),
        direction=np.column_stack([dx, dy]) / speed[:, None],
        curvature=(dx * ddy - dy * ddx) / speed**3,
        right=right,
        left=left,
        length=length,
    )
    check(track)
    return track


def check(track: Track) -> None:
    """Check that a car can drive a track.

    Raises:
        TrackError: it is too narrow, bends too sharply, or crosses itself; says at which place.
    """
    half = np.minimum(track.right, track.left)
    _reject(track, track.right + track.left < NARROWEST, f"is narrower than {NARROWEST:g} m")
    _reject(track, half < LEAST_HALF_WIDTH, f"has a wall closer than {LEAST_HALF_WIDTH:g} m to its centre line")
    _reject(track, np.abs(track.curvature) > 1 / TIGHTEST_RADIUS, f"bends with a radius below {TIGHTEST_RADIUS:g} m")
    inner = np.where(track.curvature > 0, track.left, track.right)
    _reject(track, np.abs(track.curvature) * inner > 1 - LEAST_STRETCH, "is too wide for how sharply it bends: its wall folds")
    crossing = crossing_of(track.walls)
    if crossing is not None:
        raise TrackError(f"track {track.name!r} crosses itself: two of its walls meet {_place(crossing)}")


def crossing_of(walls: tuple[np.ndarray, ...]) -> np.ndarray | None:
    """Return where `[2]` two sides of closed polygons `[M, 2]` cross, or None if none do."""
    start = np.concatenate(walls)
    side = np.concatenate([np.roll(wall, -1, axis=0) - wall for wall in walls])
    apart = start[None] - start[:, None]  # [i, j] from the start of i to that of j
    span = _cross(side[:, None], side[None])
    with np.errstate(divide="ignore", invalid="ignore"):
        along = _cross(apart, side[None]) / span  # share of side i at which it meets the line of j
        crossing = (along > 0) & (along < 1)
        crossing &= crossing.T  # the share of j is that of i with the two exchanged
    corners = np.concatenate([[offset + (np.arange(len(wall)) + 1) % len(wall)] for wall, offset in _offsets(walls)], axis=1)[0]
    numbers = np.arange(len(start))
    crossing[numbers, corners] = crossing[corners, numbers] = crossing[numbers, numbers] = False  # neighbours share a corner
    if not crossing.any():
        return None
    first, second = np.argwhere(crossing)[0]
    return start[first] + along[first, second] * side[first]


def _offsets(walls: tuple[np.ndarray, ...]) -> list[tuple[np.ndarray, int]]:
    ends = np.cumsum([len(wall) for wall in walls])
    return [(wall, int(end) - len(wall)) for wall, end in zip(walls, ends, strict=True)]


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _reject(track: Track, wrong: np.ndarray, what: str) -> None:
    if wrong.any():
        raise TrackError(f"track {track.name!r} {what} {_place(track.position[int(np.argmax(wrong))])}")


def _place(point: np.ndarray) -> str:
    return f"near x = {point[0]:.2f} m, y = {point[1]:.2f} m"
