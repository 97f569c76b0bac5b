"""A laser scanner's ranges to the walls of the track, for all cars at once and exact: no grid, no steps along a beam.

Seen from the scanner, a side of a wall covers the beams between the directions of its two ends. So each side is met with those
few beams alone, and a beam keeps the nearest side.
"""

import numpy as np

from residual_rl.tasks.racing.circuits import Circuits, Point

BEAMS = 60
BEAM_ANGLE = np.pi / 40
"""rad between two beams, 4.5 degrees: the beams see 270 degrees, from the right to the left."""
ROUND = 80
"""Beams in a full turn; those from `BEAMS` on would look backwards."""
FARTHEST = 10.0
"""m"""
DIRECTIONS = (np.arange(BEAMS) - (BEAMS - 1) / 2) * BEAM_ANGLE
"""[60] rad, of each beam, counter-clockwise from straight ahead."""
ZERO_BEAM = np.float32((BEAMS - 1) / 2)
ALL_DIRECTIONS = (np.arange(ROUND) - (BEAMS - 1) / 2) * BEAM_ANGLE
COSINES, SINES = np.cos(ALL_DIRECTIONS).astype(np.float32), np.sin(ALL_DIRECTIONS).astype(np.float32)
ARCTANGENT = [np.float32(value) for value in (0.99997726, -0.33262347, 0.19354346, -0.11643287, 0.05265332, -0.01172120)]
"""Coefficients of odd powers; off by 2e-6 rad at most in [-1, 1]. Source: the minimax polynomial, Hastings 1955, sheet 11."""


def scan(circuits: Circuits, track: np.ndarray, arc: np.ndarray, x: np.ndarray, y: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Return the distance from each car to the walls along each beam: `[E, 60]` float32 m, `FARTHEST` at most.

    Args:
        circuits: the tracks.
        track: `[E]` number of the car's track.
        arc: `[E]` m, how far along it the car is.
        x: `[E]` m
        y: `[E]` m
        yaw: `[E]` rad
    """
    away_x, away_y = circuits.wall_corners(track, arc)
    away_x -= x.astype(np.float32)[:, None, None]
    away_y -= y.astype(np.float32)[:, None, None]
    cosine, sine = np.cos(yaw).astype(np.float32)[:, None, None], np.sin(yaw).astype(np.float32)[:, None, None]
    ahead, aside = cosine * away_x, cosine * away_y
    away_x *= sine
    away_y *= sine
    ahead += away_y
    aside -= away_x
    return _nearest((ahead, aside))


def _nearest(corner: Point) -> np.ndarray:
    """Ranges `[E, 60]` m to walls whose corners `[E, 2, C]` lie in the car's frame."""
    ahead, aside = corner
    lanes = len(ahead)
    to_ahead, to_aside = ahead[:, :, 1:] - ahead[:, :, :-1], aside[:, :, 1:] - aside[:, :, :-1]
    double_area = ahead[:, :, :-1] * to_aside - aside[:, :, :-1] * to_ahead
    place = beam_of(ahead, aside)
    first = np.ceil(place)  # of the beams that are not before this corner
    count = first[:, :, 1:] - first[:, :, :-1]
    count += ROUND * (count < -ROUND / 2)  # past straight backwards
    # A side is seen from the inside of the track alone, where it runs counter-clockwise; any other is behind a nearer one.
    seen = np.flatnonzero((double_area > 0) & (count > 0))
    counts = count.ravel()[seen].astype(np.int64)
    side = np.repeat(seen, counts)
    starts = np.cumsum(counts) - counts
    lane = seen // (count.shape[1] * count.shape[2])
    begin = first[:, :, :-1].ravel()[seen].astype(np.int64) - starts
    beam = (np.arange(len(side)) + np.repeat(begin, counts)) % ROUND
    slant = COSINES[beam] * to_aside.ravel()[side] - SINES[beam] * to_ahead.ravel()[side]
    distance = double_area.ravel()[side] / np.maximum(slant, np.float32(1e-9))
    ranges = np.full(lanes * ROUND, FARTHEST, np.float32)
    np.minimum.at(ranges, np.repeat(lane * ROUND, counts) + beam, distance)
    return ranges.reshape(lanes, ROUND)[:, :BEAMS]


def beam_of(ahead: np.ndarray, aside: np.ndarray) -> np.ndarray:
    """Return the direction of points in the car's frame, counted in beams from the first: float32, of the same shape.

    With `w = (|x| - |y|) / (|x| + |y|)` the angle from the y axis is `pi/4 + atan(w)`, for which a polynomial will do: NumPy's
    `arctan2` takes several times as long.
    """
    length, breadth = np.abs(ahead), np.abs(aside)
    ratio = length - breadth
    ratio /= np.maximum(length + breadth, np.float32(1e-12))
    square = ratio * ratio
    angle = ARCTANGENT[-1] * square
    for coefficient in ARCTANGENT[-2:0:-1]:
        angle += coefficient
        angle *= square
    angle += ARCTANGENT[0]
    angle *= ratio
    angle += np.float32(np.pi / 4)
    angle = np.copysign(np.float32(np.pi / 2) - np.copysign(angle, ahead), aside)
    angle *= np.float32(1 / BEAM_ANGLE)
    angle += ZERO_BEAM
    return angle
