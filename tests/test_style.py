"""The distance between the ways of moving of two policies."""

import numpy as np
import pytest

from residual_rl.pairing.style import style_distance

pytest.importorskip("dtaidistance")


def path(points: int = 40, speed: float = 1.0, aside: float = 0.0) -> np.ndarray:
    """Along a bow, at a pace; a constant third entry."""
    along = speed * np.linspace(0.0, 1.0, points)
    return np.stack([along, np.sin(3.0 * along) + aside, np.full(points, 7.0)], axis=1)


def by_hand(whole: np.ndarray, other: np.ndarray) -> float:
    """The definition: the cheapest warping of the whole of one to a beginning of the other, per step of it."""
    cost = np.linalg.norm(whole[:, None] - other[None], axis=-1)
    total = np.full((len(whole) + 1, len(other) + 1), np.inf)
    total[0, 0] = 0.0
    for row, column in np.ndindex(cost.shape):
        before = min(total[row, column], total[row, column + 1], total[row + 1, column])
        total[row + 1, column + 1] = cost[row, column] + before
    return float(total[-1, 1:].min())


def test_the_same_way_has_no_distance_at_whatever_pace_and_however_far() -> None:
    assert style_distance([(path(), path())]) == 0.0
    assert style_distance([(path(40), path(40)[:15])]) == 0.0  # the policy's episode ends early
    assert style_distance([(path(40)[:15], path(40))]) == 0.0
    slow = np.repeat(path(), 2, axis=0)
    assert style_distance([(slow, path())]) == 0.0


def test_a_way_aside_has_the_distance_of_the_definition() -> None:
    base, policy = path(40, speed=1.0), path(40, speed=0.9, aside=0.5)
    spread = np.concatenate([base, policy]).std(axis=0)[:2] * np.sqrt(2)
    scaled = [one[:, :2] / spread for one in (base, policy)]
    # Of both directions the nearer one, divided by the steps of its warping: at least 40, fewer than 80.
    costs = min(by_hand(scaled[0], scaled[1]), by_hand(scaled[1], scaled[0]))
    found = style_distance([(base, policy)])
    assert found is not None
    assert costs / 79 <= found <= max(by_hand(*scaled), by_hand(*scaled[::-1])) / 40


def test_the_unit_of_an_entry_decides_nothing_and_a_farther_way_is_farther() -> None:
    near, far = ([(path(), path(aside=aside)), (path(), path())] for aside in (0.1, 0.6))
    unit = np.array([1e-4, 1e3, 1.0])
    scaled = [(unit * base, unit * policy) for base, policy in near]
    assert style_distance(scaled) == pytest.approx(style_distance(near), rel=1e-5)
    assert style_distance(far) > style_distance(near) > 0.0  # type: ignore[operator]


def test_where_nothing_moves_or_nothing_was_kept_there_is_no_distance() -> None:
    assert style_distance([]) is None
    assert style_distance([(np.ones((5, 2)), np.ones((4, 2)))]) is None
