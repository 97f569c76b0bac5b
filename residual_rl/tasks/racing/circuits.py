"""Several tracks as tables, so that cars on different tracks are looked after in one call."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from residual_rl.tasks.racing.line import curvature_of, least_curvature
from residual_rl.tasks.racing.track import PER_WALL_POINT, Track

REACH = 42
"""Corners of a wall before and after a car that its scan may meet, some 12.5 m along the centre line."""

Point = tuple[np.ndarray, np.ndarray]
"""x and y, each of the same shape."""


class Circuits:
    """The tables of some tracks, one after the other. `row` is one of the tables of centre lines, `track` a track's number.

    Args:
        tracks: at least one.
    """

    def __init__(self, tracks: Sequence[Track]):
        self.tracks = tuple(tracks)
        counts = [len(track.position) for track in tracks]
        self.count = np.array(counts)
        """[K] rows of each track."""
        self.first = np.cumsum([0, *counts[:-1]])
        """[K] its first row."""
        self.length = np.array([track.length for track in tracks])
        """[K] m, of a lap."""
        self.spacing = self.length / self.count
        """[K] m between rows."""
        self.x, self.y = np.concatenate([track.position for track in tracks]).T.copy()
        self.along_x, self.along_y = np.concatenate([track.direction for track in tracks]).T.copy()
        self.curvature = np.concatenate([track.curvature for track in tracks])
        self.yaw = np.arctan2(self.along_y, self.along_x)
        """[R] rad, direction of the centre line."""
        self.right = np.concatenate([track.right for track in tracks])
        self.left = np.concatenate([track.left for track in tracks])
        self._right_x, self._right_y, self._left_x, self._left_y = self._walls()
        self._x_windows, self._y_windows = self._windows()

    def rows(self, track: np.ndarray, arc: np.ndarray) -> np.ndarray:
        """Return the row nearest to `arc` `[...]` m along the centre line of `track` `[...]`."""
        row = np.rint(arc / self.spacing[track]).astype(np.int64)
        return self.first[track] + row % self.count[track]

    def follow(self, track: np.ndarray, arc: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return how much further along the centre line than `arc` `[...]` m each point lies: `[...]` m, positive ahead.

        Two steps of Newton's method: right for points that are near, as after a step of a car.
        """
        ahead = np.zeros_like(x)
        for _ in range(2):
            row = self.rows(track, arc + ahead)
            away_x, away_y = x - self.x[row], y - self.y[row]
            tangent_x, tangent_y = self.along_x[row], self.along_y[row]
            aside = tangent_x * away_y - tangent_y * away_x
            forward = (tangent_x * away_x + tangent_y * away_y) / np.maximum(1.0 - self.curvature[row] * aside, 0.1)
            start = (row - self.first[track]) * self.spacing[track]
            lap = self.length[track]
            ahead = (start + forward.clip(-0.5, 0.5) - arc + lap / 2) % lap - lap / 2
        return ahead

    def beyond_walls(self, track: np.ndarray, arc: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return whether points `[...]` lie outside the walls, where `arc` `[...]` m is how far along they are."""
        wall = np.floor(arc / (PER_WALL_POINT * self.spacing[track])).astype(np.int64)
        corners = self.count[track] // PER_WALL_POINT
        start = self.first[track] // PER_WALL_POINT
        here, following = start + wall % corners, start + (wall + 1) % corners
        of_right = _side(self._right_x, self._right_y, here, following, x, y)
        of_left = _side(self._left_x, self._left_y, here, following, x, y)
        return (of_right < 0) | (of_left > 0)

    def wall_corners(self, track: np.ndarray, arc: np.ndarray) -> Point:
        """Return x and y of both walls' corners, `REACH` before and after a place: `[E, 2, 2 * REACH + 1]` float32 m.

        The right wall comes first, in driving order, and then the left one, against it: both counter-clockwise as seen from
        the track.

        Args:
            track: `[E]`
            arc: `[E]` m along the centre line.
        """
        corners = self.count[track] // PER_WALL_POINT
        nearest = np.rint(arc / (PER_WALL_POINT * self.spacing[track])).astype(np.int64) % corners
        start = self.first[track] // PER_WALL_POINT + 2 * REACH * track
        begin = np.stack([start + nearest, start + corners - 1 - nearest + len(self._x_windows) // 2], axis=1)
        return self._x_windows[begin], self._y_windows[begin]

    @cached_property
    def fast_line(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y `[R]` m and curvature `[R]` 1/m of the line of least curvature, a point for each row."""
        lines = [least_curvature(track) for track in self.tracks]
        x, y = np.concatenate([line for line, _ in lines]).T.copy()
        return x, y, np.concatenate([curvature for _, curvature in lines])

    @cached_property
    def centre_line(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y `[R]` m and curvature `[R]` 1/m of the centre line, smoothed as that of `fast_line`."""
        return self.x, self.y, np.concatenate([curvature_of(track.position) for track in self.tracks])

    def _walls(self) -> tuple[np.ndarray, ...]:
        right, left = (np.concatenate([track.walls[side] for track in self.tracks]) for side in range(2))
        return right[:, 0].copy(), right[:, 1].copy(), left[:, 0].copy(), left[:, 1].copy()

    def _windows(self) -> Point:
        """Every stretch of `2 * REACH + 1` corners, of the right walls and then of the left ones: a row for each beginning."""
        walls = [track.walls[0] for track in self.tracks] + [track.walls[1][::-1] for track in self.tracks]
        around = [wall[np.arange(-REACH, len(wall) + REACH) % len(wall)] for wall in walls]
        ends = np.repeat(around[-1][-1:], 2 * REACH, axis=0)  # so that as many windows begin as there are corners
        x, y = np.concatenate([*around, ends]).astype(np.float32).T.copy()
        return sliding_window_view(x, 2 * REACH + 1), sliding_window_view(y, 2 * REACH + 1)


def _side(wall_x: np.ndarray, wall_y: np.ndarray, here: np.ndarray, following: np.ndarray, x: np.ndarray, y: np.ndarray):
    """Positive where a point lies left of the side of a wall from corner `here` to corner `following`."""
    start_x, start_y = wall_x[here], wall_y[here]
    return (wall_x[following] - start_x) * (y - start_y) - (wall_y[following] - start_y) * (x - start_x)
