"""Cars that race alone, each on a track of its own: what an episode is, and what a driver is shown.

An episode is two laps from a standing start anywhere on a track. It ends with the second lap, with a collision, or by time.

Observation (65):

| entries | what | unit |
|---|---|---|
| 0-59 | ranges of the scan, from the right to the left, with noise | m, 10 at most |
| 60 | speed | m/s |
| 61 | yaw rate | rad/s |
| 62 | steering angle | rad |
| 63, 64 | the last action | in [-1, 1] |

Action (2): the steering angle to go to, as a share of the largest; the speed to go to, from standstill at -1 to 8 m/s at 1.

A driver that knows the map (`reads_state`) is shown this besides, `[256]`:

| entries | what |
|---|---|
| 0-9 | `State.physics` |
| 10-132 | the centre line from beside the car on, 41 points every 25 cm: x, y in the car's frame in m, curvature in 1/m |
| 133-255 | the same of the line of least curvature |
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

import numpy as np

from residual_rl.processes import usable_cores
from residual_rl.tasks.racing.car import CAR, STEP_SECONDS, drive
from residual_rl.tasks.racing.circuits import Circuits
from residual_rl.tasks.racing.scan import BEAMS, FARTHEST, scan
from residual_rl.tasks.racing.track import Track
from residual_rl.types import Observation, Spec

LAPS = 2
HORIZON = 2000
"""Steps, 40 s."""
LOOKAHEAD = 100
"""Steps, 2 s: braking from top speed takes 1.1 s."""
RANGES = slice(0, BEAMS)
SEEN_SPEED, SEEN_YAW_RATE, SEEN_STEERING = BEAMS, BEAMS + 1, BEAMS + 2
LAST_ACTION = slice(BEAMS + 3, BEAMS + 5)
MOST_PROGRESS = 0.5
"""m along the centre line in a step, at most: the inside of the sharpest bend at top speed."""
COLLISION_COST = 20.0
"""m of progress."""
SPEC = Spec(
    observation_size=BEAMS + 5,
    goal_size=0,
    action_size=2,
    horizon=HORIZON,
    reward_range=(-MOST_PROGRESS - COLLISION_COST, MOST_PROGRESS),
    world="racing",
    lookahead=LOOKAHEAD,
)

TIME, CAR_STATE, TRACK, ARC = 0, slice(1, 8), 8, 9
"""Entries of `State.physics`."""
PREVIEW = 41
"""Points of a line that a driver with a map sees ahead."""
PREVIEW_SPACING = 0.25
"""m along the centre line."""
STATE_SIZE = 10 + 2 * 3 * PREVIEW

START_ASIDE = 0.2
"""m at most, from the centre line, at the start."""
START_TURNED = 0.1
"""rad at most, from its direction."""
SHARED_FROM = 64
"""Cars: for fewer, a thread costs more than it saves."""
RANGE_NOISE = 0.01
"""m, standard deviation. Source: the community's simulator of the 1:10 car."""
POOL_SIZE = 1 << 20
POOL_SEED = 1910

HULL = np.array([(along, across) for along in (-0.5, 0.0, 0.5) for across in (-0.5, 0.5)]) * (CAR.length, CAR.width)
"""[6, 2] m, in the car's frame: corners and middles of its long sides, which must stay between the walls."""


class State(NamedTuple):
    """Where the episodes stand."""

    physics: np.ndarray
    """[E, 10] time in s; the car's state as in `car.py`; number of the track; how far along its centre line, in m."""
    action: np.ndarray
    """[E, 2] the last one."""
    progress: np.ndarray
    """[E] m along the centre line in the last step."""
    travelled: np.ndarray
    """[E] m along the centre line since the start."""
    lap_times: np.ndarray
    """[E, 2] s, when each lap was completed; infinite if it has not been."""
    collided: np.ndarray
    """[E] bool"""
    noise: np.ndarray
    """[E] uint64, what the noise of the episode's scans follows from."""
    elapsed: np.ndarray
    """[E] steps"""

    @property
    def finished(self) -> np.ndarray:
        """[E] bool, whether both laps are completed, without a collision."""
        return np.isfinite(self.lap_times[:, -1]) & ~self.collided


class RacingWorld:
    """The physics and rules of racing, for a batch of cars at once. Stateless: states go in and come out.

    Args:
        tracks: each episode takes place on one of them, drawn by its generator.
        num_threads: for the scans, from `SHARED_FROM` cars on; None for one a core. (The rest of a step is so many small
            arrays that two threads would only wait for each other.)
    """

    spec = SPEC

    def __init__(self, tracks: Sequence[Track], num_threads: int | None = None):
        self.circuits = Circuits(tracks)
        self._parts = num_threads or usable_cores()
        self._threads = ThreadPoolExecutor(self._parts) if self._parts > 1 else None

    def reset(self, rngs: Sequence[np.random.Generator]) -> tuple[State, np.ndarray]:
        """New episodes, one for each generator: their state, and goals of width 0."""
        circuits, lanes = self.circuits, len(rngs)
        drawn = np.array([[rng.integers(len(circuits.tracks)), *rng.uniform(size=3)] for rng in rngs])
        noise = np.array([rng.integers(1 << 63) for rng in rngs], dtype=np.uint64)
        track = drawn[:, 0].astype(np.int64)
        row = circuits.first[track] + (drawn[:, 1] * circuits.count[track]).astype(np.int64)
        aside, turned = START_ASIDE * (2 * drawn[:, 2] - 1), START_TURNED * (2 * drawn[:, 3] - 1)
        physics = np.zeros((lanes, 10))
        physics[:, 1] = circuits.x[row] - aside * circuits.along_y[row]
        physics[:, 2] = circuits.y[row] + aside * circuits.along_x[row]
        physics[:, 5] = circuits.yaw[row] + turned
        physics[:, TRACK] = track
        physics[:, ARC] = (row - circuits.first[track]) * circuits.spacing[track]
        state = State(
            physics=physics,
            action=np.tile([0.0, -1.0], (lanes, 1)),
            progress=np.zeros(lanes),
            travelled=np.zeros(lanes),
            lap_times=np.full((lanes, LAPS), np.inf),
            collided=np.zeros(lanes, dtype=bool),
            noise=noise,
            elapsed=np.zeros(lanes, dtype=np.int64),
        )
        return state, np.zeros((lanes, 0))

    def step(self, state: State, action: np.ndarray) -> State:
        """The state after one action `[E, 2]` in [-1, 1]."""
        before = state.physics
        track = before[:, TRACK].astype(np.int64)
        car = drive(CAR, before[:, CAR_STATE].T.copy(), action)
        x, y, yaw = car[0], car[1], car[4]
        progress = self.circuits.follow(track, before[:, ARC], x, y)
        arc = (before[:, ARC] + progress) % self.circuits.length[track]
        physics = np.empty_like(before)
        physics[:, TIME] = before[:, TIME] + STEP_SECONDS
        physics[:, CAR_STATE] = car.T
        physics[:, TRACK] = before[:, TRACK]
        physics[:, ARC] = arc
        travelled = state.travelled + progress
        return State(
            physics=physics,
            action=action.copy(),
            progress=progress,
            travelled=travelled,
            lap_times=self._lap_times(state, travelled, progress, track),
            collided=state.collided | self._hits_wall(track, arc, x, y, yaw),
            noise=state.noise.copy(),
            elapsed=state.elapsed + 1,
        )

    def observe(self, state: State, goal: np.ndarray) -> Observation:
        """What a driver sees."""
        car = state.physics[:, CAR_STATE]
        seen = np.empty((len(car), SPEC.observation_size))
        seen[:, RANGES] = self.ranges(state.physics)
        seen[:, RANGES] += RANGE_NOISE * _noise(state.noise, state.elapsed)
        seen[:, RANGES].clip(0.0, FARTHEST, out=seen[:, RANGES])
        seen[:, SEEN_SPEED], seen[:, SEEN_YAW_RATE], seen[:, SEEN_STEERING] = car[:, 3], car[:, 5], car[:, 2]
        seen[:, LAST_ACTION] = state.action
        return Observation(observation=seen, achieved_goal=goal.copy(), desired_goal=goal.copy())

    def signals(self, state: State) -> dict[str, np.ndarray]:
        """How the last step ended: a collision terminates; the second lap truncates, since the race could go on."""
        return {
            "is_success": state.finished,
            "terminated": state.collided,
            "truncated": state.finished,
            "progress": state.progress,
            "collision": state.collided,
            "track": state.physics[:, 8].astype(np.int64),
            "lap_times": state.lap_times,
            "race_time": np.where(state.finished, state.lap_times[:, -1], np.inf),
        }

    def ranges(self, physics: np.ndarray) -> np.ndarray:
        """The scan without its noise: `State.physics [E, 10] -> [E, 60]` m."""
        if self._threads is None or len(physics) < SHARED_FROM:
            return self._ranges(physics)
        return np.concatenate(list(self._threads.map(self._ranges, np.array_split(physics, self._parts))))

    def with_map(self, physics: np.ndarray) -> np.ndarray:
        """What a driver with a map is shown besides: `State.physics [E, 10] -> [E, 256]`."""
        circuits = self.circuits
        track = physics[:, TRACK].astype(np.int64)
        arc = physics[:, ARC, None] + PREVIEW_SPACING * np.arange(PREVIEW)
        row = circuits.rows(track[:, None], arc)
        cosine, sine = np.cos(physics[:, 5, None]), np.sin(physics[:, 5, None])
        shown = [physics]
        for line_x, line_y, curvature in (circuits.centre_line, circuits.fast_line):
            away_x, away_y = line_x[row] - physics[:, 1, None], line_y[row] - physics[:, 2, None]
            shown += [cosine * away_x + sine * away_y, cosine * away_y - sine * away_x, curvature[row]]
        return np.concatenate(shown, axis=1)

    def model_of(self, state: State, lane: int) -> Track:
        """The track of one lane's episode."""
        return self.circuits.tracks[int(state.physics[lane, TRACK])]

    def close(self) -> None:
        """End the threads."""
        if self._threads:
            self._threads.shutdown()

    def _ranges(self, physics: np.ndarray) -> np.ndarray:
        _, x, y, _, _, yaw, _, _, track, arc = physics.T
        return scan(self.circuits, track.astype(np.int64), arc, x, y, yaw)

    def _lap_times(self, state: State, travelled: np.ndarray, progress: np.ndarray, track: np.ndarray) -> np.ndarray:
        """Laps completed in this step are timed between its start and its end."""
        lap_times = state.lap_times.copy()
        beyond = travelled[:, None] - self.circuits.length[track, None] * np.arange(1, LAPS + 1)
        lane, lap = np.nonzero((beyond >= 0) & np.isinf(lap_times))
        if len(lane):
            share = 1.0 - beyond[lane, lap] / np.maximum(progress[lane], 1e-9)
            lap_times[lane, lap] = state.physics[lane, TIME] + STEP_SECONDS * share
        return lap_times

    def _hits_wall(self, track: np.ndarray, arc: np.ndarray, x: np.ndarray, y: np.ndarray, yaw: np.ndarray) -> np.ndarray:
        cosine, sine = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
        hull_x = x[:, None] + cosine * HULL[:, 0] - sine * HULL[:, 1]
        hull_y = y[:, None] + sine * HULL[:, 0] + cosine * HULL[:, 1]
        of_all = np.repeat(track, len(HULL)).reshape(hull_x.shape)
        along = arc[:, None] + self.circuits.follow(of_all, np.repeat(arc, len(HULL)).reshape(hull_x.shape), hull_x, hull_y)
        return np.any(self.circuits.beyond_walls(of_all, along, hull_x, hull_y), axis=1)


def _noise(key: np.ndarray, elapsed: np.ndarray) -> np.ndarray:
    """Standard normal numbers `[E, 60]`: neighbours in a fixed pool, from a place that episode and step determine."""
    mixed = key + elapsed.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    place = (mixed >> np.uint64(44)).astype(np.int64)  # 20 bits
    return _pool()[place[:, None] + np.arange(BEAMS)]


@cache
def _pool() -> np.ndarray:
    return np.random.default_rng(POOL_SEED).standard_normal(POOL_SIZE + BEAMS, dtype=np.float32)
