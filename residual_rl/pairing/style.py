"""How far the style of moving changed: the distance between the paths of base and policy, at any pace."""

from collections.abc import Sequence

import numpy as np


def style_distance(paths: Sequence[tuple[np.ndarray, np.ndarray]]) -> float | None:
    """Return the mean open-ended dynamic time warping distance of pairs of paths `[P, O]`, `[Q, O]`, per step of the warping.

    Entries of observations are in units of their spread over all given paths; those that never change do not count. 0 is the
    same path at any pace, 1 a distance of one standard deviation in every entry. The whole path of one is matched with the
    nearest beginning of the other's, whichever way round is nearer, so the one that arrives earlier is not charged for what
    the other one does afterwards.

    Returns:
        None if there are no paths, nothing changes, or `dtaidistance` (the extra `style`) is not installed.

    Source: Sakoe and Chiba 1978 (warping, here without a window); Tormene et al. 2009, "Matching incomplete time series with
    dynamic time warping" (open end).
    """
    try:
        from dtaidistance import dtw, dtw_ndim  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        return None
    if not paths:
        return None
    points = np.concatenate([path for pair in paths for path in pair]).astype(np.float64)
    spread = points.std(axis=0)
    moving = spread > 1e-9 * np.maximum(1.0, np.abs(points).max(axis=0))
    if not moving.any():
        return None
    # Per entry, so that a distance of 1 means the same for two entries and for fifty.
    unit = spread[moving] * np.sqrt(moving.sum())

    def open_ended(whole: np.ndarray, other: np.ndarray) -> float:
        costs: np.ndarray = dtw_ndim.warping_paths_fast(whole, other, inner_dist="euclidean")[1]
        ends = costs[len(whole), 1:]
        end = int(np.argmin(ends)) + 1
        return float(ends[end - 1]) / len(dtw.best_path(costs, row=len(whole), col=end))

    distances = []
    for pair in paths:
        base, policy = (np.ascontiguousarray(path[:, moving].astype(np.float64) / unit) for path in pair)
        distances.append(min(open_ended(policy, base), open_ended(base, policy)))
    return float(np.mean(distances))
