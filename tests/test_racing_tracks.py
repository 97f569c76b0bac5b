"""Racing: tracks from seeds and from files, what cannot be driven, and the line that bends least."""

import numpy as np
import pytest

from residual_rl.errors import ResidualRLError
from residual_rl.tasks import find_task, is_task, spec_of
from residual_rl.tasks.racing import line, tracks
from residual_rl.tasks.racing.track import TIGHTEST_RADIUS, TrackError, crossing_of, track_through

ALL = tracks.TRAINING | tracks.VALIDATION | tracks.TEST
ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
CIRCLE = 5.0 * np.column_stack([np.cos(ANGLES), np.sin(ANGLES)])


def circle(half_width=0.8, points=CIRCLE, name="circle"):
    return track_through(name, points, np.full(len(points), half_width), np.full(len(points), half_width))


def as_csv(points, right=0.9, left=0.7, header="# x_m,y_m,w_tr_right_m,w_tr_left_m"):
    return "\n".join([header, *(f"{x:.6f},{y:.6f},{right},{left}" for x, y in points)]) + "\n"


def test_there_are_nine_tracks_to_train_on_and_three_each_to_select_and_to_judge():
    assert [len(one) for one in (tracks.TRAINING, tracks.VALIDATION, tracks.TEST)] == [9, 3, 3]
    assert len(ALL) == len(set(ALL.values())) == 15


@pytest.mark.parametrize("name", ALL)
def test_a_track_can_be_driven_and_is_sampled_evenly(name):
    track = tracks.made_track(name, ALL[name])
    assert 40 < track.length < 80
    assert np.abs(track.curvature).max() <= 1 / tracks.TIGHTEST
    assert (track.right + track.left).min() > 1.4
    assert crossing_of(track.walls) is None
    gaps = np.linalg.norm(np.roll(track.position, -1, axis=0) - track.position, axis=1)
    np.testing.assert_allclose(gaps, track.length / len(gaps), rtol=5e-3)
    np.testing.assert_allclose(np.linalg.norm(track.direction, axis=1), 1.0)
    turned = np.sum(track.curvature) * track.length / len(gaps)
    assert abs(turned) == pytest.approx(2 * np.pi, abs=1e-3)  # once around, one way or the other


def test_a_seed_makes_the_same_track_again_and_another_seed_another():
    again = tracks.made_track.__wrapped__("alder", ALL["alder"])
    np.testing.assert_array_equal(again.position, tracks.made_track("alder", ALL["alder"]).position)
    assert len({round(tracks.made_track(name, seed).length, 6) for name, seed in ALL.items()}) == 15


def test_tracks_go_round_both_ways():
    ways = {np.sign(tracks.made_track(name, seed).curvature.sum()) for name, seed in ALL.items()}
    assert ways == {-1.0, 1.0}


def test_a_circle_is_what_geometry_says():
    track = circle()
    assert track.length == pytest.approx(10 * np.pi, rel=1e-3)
    np.testing.assert_allclose(track.curvature, 0.2, rtol=1e-2)
    right, left = track.walls
    np.testing.assert_allclose(np.linalg.norm(right, axis=1), 5.8, rtol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(left, axis=1), 4.2, rtol=1e-3)


EIGHT = np.column_stack([8 * np.sin(ANGLES), 5 * np.sin(2 * ANGLES)])
FINGER = np.array([[0, 0], [6, 0], [12, 0], [12, 6], [7.2, 6], [6.6, 1.6], [6, 0.9], [5.4, 1.6], [4.8, 6], [0, 6]], dtype=float)


@pytest.mark.parametrize(
    ("points", "half_width", "complaint"),
    [
        (EIGHT, 0.5, "'bad' crosses itself: two of its walls meet near x = "),
        (FINGER, 0.6, "'bad' (crosses itself|bends|is too wide)"),
        (CIRCLE, 0.35, "'bad' is narrower than 0.8 m near x = "),
        (CIRCLE, 4.9, "'bad' is too wide for how sharply it bends"),
        (CIRCLE / 3, 0.5, "a lap of track 'bad' is 10.5 m long; 15 m at least"),
        (CIRCLE * (1.0, 0.1), 0.5, f"'bad' bends with a radius below {TIGHTEST_RADIUS:g} m near x = "),
        (CIRCLE[:3], 0.5, "'bad' has 3 points; a closed centre line needs 4"),
        (np.repeat(CIRCLE, 2, axis=0), 0.5, "'bad' has the same point twice"),
    ],
)
def test_what_cannot_be_driven_is_rejected_with_the_place(points, half_width, complaint):
    with pytest.raises(TrackError, match=complaint):
        circle(half_width, points, "bad")


def test_walls_that_share_a_corner_do_not_cross():
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    assert crossing_of((square, square * 3 - 1)) is None
    np.testing.assert_allclose(crossing_of((square, square + 0.5)), [1.0, 0.5], atol=0.51)


def test_a_track_is_read_from_the_communitys_csv(tmp_path):
    file = tmp_path / "round.csv"
    file.write_text(as_csv([*CIRCLE, CIRCLE[0]]))  # the last point repeats the first
    track = tracks.read_track(file)
    assert track.name == "round"
    assert track.length == pytest.approx(10 * np.pi, rel=1e-3)
    np.testing.assert_allclose((track.right[0], track.left[0]), (0.9, 0.7))
    task = find_task(f"racing:{file}")
    assert is_task(task.name)
    assert spec_of(task.name) == task.spec
    envs = task.make_envs(2, num_threads=1)
    assert np.isfinite(envs.reset(seed=0)[0]["observation"]).all()
    envs.close()


def test_a_folder_holds_tracks_in_the_order_of_their_names(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.csv").write_text(as_csv(CIRCLE, header="x_m;y_m;w_tr_right_m;w_tr_left_m").replace(",", ";"))
    assert [track.name for track in tracks.read_tracks(tmp_path)] == ["a", "b"]


def test_the_rounding_of_close_points_is_not_followed(tmp_path):
    angles = np.linspace(0, 2 * np.pi, 800, endpoint=False)
    points = np.round(5.0 * np.column_stack([np.cos(angles), np.sin(angles)]), 2)
    (tmp_path / "close.csv").write_text(as_csv(points))
    np.testing.assert_allclose(tracks.read_track(tmp_path / "close.csv").curvature, 0.2, atol=0.4)  # by up to 10 otherwise


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# x_m,y_m\n0,0\n", r"line 2 of .*bad.csv is '0,0'; four numbers are needed: x_m, y_m, w_tr_right_m, w_tr_left_m"),
        ("0,0,1,one\n", "line 1 of .* is '0,0,1,one'"),
        ("0,0,1,nan\n", "line 1 of .* is '0,0,1,nan'"),
        ("# nothing\n", "has 0 points"),
        (as_csv(CIRCLE[:16]), "is not closed: its last point is 9.2 m from its first"),
        (as_csv(EIGHT), "'bad' crosses itself"),
        (as_csv(CIRCLE, right=0.3, left=0.3), "'bad' is narrower than 0.8 m"),
    ],
)
def test_a_bad_file_is_told_from_a_good_one(tmp_path, text, complaint):
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(TrackError, match=complaint):
        tracks.read_track(file)


def test_a_missing_file_or_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ResidualRLError, match=r"cannot read the track .*none\.csv"):
        find_task(f"racing:{tmp_path / 'none.csv'}")
    with pytest.raises(ResidualRLError, match=r"holds no \.csv file"):
        find_task(f"racing:{tmp_path}")


@pytest.mark.parametrize("name", ["alder", "larch", "yew"])
def test_the_line_that_bends_least_stays_between_the_walls_and_bends_less(name):
    track = tracks.made_track(name, ALL[name])
    points, curvature = line.least_curvature(track)
    offset = ((points - track.position) * track.normal).sum(axis=1)
    assert (offset >= 0.95 * line.MARGIN - track.right).all()
    assert (offset <= track.left - 0.95 * line.MARGIN).all()
    assert (curvature**2).sum() < 0.7 * (track.curvature**2).sum()
    length = np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=1).sum()
    assert length < track.length


def test_a_bounded_minimum_is_where_no_step_leads_further_down():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(30, 20))
    hessian, linear = root.T @ root, 10 * rng.normal(size=20)
    low, high = -rng.uniform(0.1, 0.5, 20), rng.uniform(0.1, 0.5, 20)
    x = line.bounded_minimum(hessian, linear, low, high)
    slope = hessian @ x - linear
    at_bound = (x == low) | (x == high)
    assert 0 < at_bound.sum() < 20
    np.testing.assert_allclose(slope[~at_bound], 0.0, atol=1e-9)
    assert (slope[x == low] >= 0).all()
    assert (slope[x == high] <= 0).all()
