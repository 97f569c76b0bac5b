"""The tracks of the library, each made from a number, and tracks from CSV files."""

import csv
from functools import cache
from pathlib import Path

import numpy as np

from residual_rl.tasks.racing.track import Track, TrackError, track_through

TRAINING = {"alder": 1, "birch": 2, "cedar": 3, "elm": 4, "fir": 5, "hazel": 6, "larch": 7, "maple": 8, "oak": 9}
VALIDATION = {"pine": 101, "rowan": 102, "spruce": 103}
TEST = {"walnut": 201, "willow": 202, "yew": 203}
"""Name and seed of each track."""

CORNERS = (9, 14)
"""Number of control points: at least, and less than."""
RADII = (0.4, 1.0)
"""Distance of control points from the middle, before scaling."""
LENGTHS = (50.0, 75.0)
"""m, of a lap."""
HALF_WIDTHS = (0.75, 1.2)
"""m, from the centre line to a wall, at a control point."""
TIGHTEST = 1.2
"""m, radius of the centre line."""
ATTEMPTS = 1000
TRACK_COLUMNS = ("x_m", "y_m", "w_tr_right_m", "w_tr_left_m")
THINNED_TO = 0.4
"""m between the points of a file that are used: a spline through closer ones would follow their rounding."""


@cache
def made_track(name: str, seed: int) -> Track:
    """Return the track of a seed: a closed spline through random control points, the first that can be driven."""
    rng = np.random.default_rng(seed)
    for _ in range(ATTEMPTS):
        count = int(rng.integers(*CORNERS))
        angle = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * 2 * np.pi / count
        points = rng.uniform(*RADII, count)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
        right, left = rng.uniform(*HALF_WIDTHS, (2, count))
        if rng.random() < 0.5:
            points = points[::-1]
        points *= rng.uniform(*LENGTHS) / np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1).sum()
        try:
            track = track_through(name, points, right, left)
        except TrackError:
            continue
        if np.abs(track.curvature).max() <= 1 / TIGHTEST:
            return track
    raise TrackError(f"no track can be made from seed {seed}")


def tracks_of(seeds: dict[str, int]) -> tuple[Track, ...]:
    """Return the tracks with these names and seeds."""
    return tuple(made_track(name, seed) for name, seed in seeds.items())


def read_tracks(path: str | Path) -> tuple[Track, ...]:
    """Return the track in a CSV file, or those in all CSV files of a folder, in the order of their names.

    Raises:
        TrackError: there is none, or one that cannot be driven; says why.
    """
    path = Path(path)
    if not path.is_dir():
        return (read_track(path),)
    files = sorted(path.glob("*.csv"))
    if not files:
        raise TrackError(f"the folder {path} holds no .csv file")
    return tuple(read_track(file) for file in files)


def read_track(path: str | Path) -> Track:
    """Return the track in a CSV file of `x_m, y_m, w_tr_right_m, w_tr_left_m`: centre line and distances to the walls, in m.

    Lines that begin with `#`, empty lines and a line of column names are passed over. The line closes by itself; a last point
    that repeats the first is dropped.

    Raises:
        TrackError: it cannot be read or driven; names the line or the place.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrackError(f"cannot read the track {path}: {error}") from error
    rows = [_row(path, number, line) for number, line in enumerate(lines, 1) if _holds_numbers(line)]
    if len(rows) < 4:
        raise TrackError(f"{path} has {len(rows)} points; a closed centre line needs 4 at least")
    points = np.array(rows)
    if np.array_equal(points[0, :2], points[-1, :2]):
        points = points[:-1]
    gaps = np.linalg.norm(points[:, :2] - np.roll(points[:, :2], 1, axis=0), axis=1)
    largest = float(gaps.max())
    if gaps[0] == largest > max(2.0, 5 * float(np.median(gaps))):
        raise TrackError(f"the centre line in {path} is not closed: its last point is {largest:.1f} m from its first")
    points = points[:: max(1, int(THINNED_TO / gaps.mean()))]
    return track_through(path.stem, points[:, :2], points[:, 2], points[:, 3])


def _holds_numbers(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#") and TRACK_COLUMNS[0] not in line


def _row(path: Path, number: int, line: str) -> list[float]:
    cells = next(csv.reader([line], delimiter=";" if ";" in line else ","))
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        values = []
    if len(values) != len(TRACK_COLUMNS) or not np.isfinite(values).all():
        raise TrackError(f"line {number} of {path} is {line.strip()!r}; four numbers are needed: {', '.join(TRACK_COLUMNS)}")
    return values
