"""Races from above: a track, and the lines that drivers took on it, coloured by their speed."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode

from residual_rl.optional import REPORTS, need
from residual_rl.storage import write_whole
from residual_rl.tasks.racing.car import CAR
from residual_rl.tasks.racing.task import RacingTask
from residual_rl.tasks.racing.track import Track
from residual_rl.types import Observation

COLORS = "viridis"
ASPHALT, WALL, GROUND = "#d9dce1", "#55585f", "#ffffff"
COLLISION = "#d55e00"
CAR_EVERY = 1.0  # s between two cars that are drawn
INCHES = 5.2  # of a panel


class Drive(NamedTuple):
    """One race of one driver."""

    driver: str
    track: Track
    seed: int
    path: np.ndarray
    """[T, 4] x and y in m, yaw in rad, speed in m/s, until the race ended."""
    race_time: float
    """s, infinite if the race was not finished."""
    collided: bool

    @property
    def in_words(self) -> str:
        """What became of it."""
        if np.isfinite(self.race_time):
            return f"{self.race_time:.2f} s"
        return f"hits a wall after {0.02 * (len(self.path) - 1):.2f} s" if self.collided else "not finished in time"


def drives(
    task: RacingTask, driver: str, policy: Callable[[Observation], np.ndarray], seeds: Sequence[int], with_state: bool = True
) -> list[Drive]:
    """Return a race from each seed.

    Args:
        task: where.
        driver: what to call the policy.
        policy: `Observation[E] -> action [E, 2]`.
        seeds: `[E]`, of the episodes.
        with_state: whether the policy drives by a map.
    """
    mode = AutoresetMode.DISABLED
    with closing(task.make_envs(len(seeds), num_threads=1, autoreset_mode=mode, with_state=with_state)) as envs:
        observation, _ = envs.reset(seed=list(seeds))
        states, lengths = [envs.state.physics], np.ones(len(seeds), dtype=int)
        over = np.zeros(len(seeds), dtype=bool)
        info: dict[str, Any] = {}
        while not over.all():
            observation, _, terminated, truncated, info = envs.step(policy(observation))
            states.append(envs.state.physics)
            lengths += ~over
            over = terminated | truncated
        path = np.stack(states)[:, :, [1, 2, 5, 4]]
        return [
            Drive(
                driver,
                envs.world.model_of(envs.state, lane),
                int(seed),
                path[: lengths[lane], lane],
                float(info["race_time"][lane]),
                bool(info["collision"][lane]),
            )
            for lane, seed in enumerate(seeds)
        ]


def draw(shown: Sequence[Drive], step: int | None = None) -> np.ndarray:
    """Return a picture `[H, W, 3]` uint8 of some drives side by side, each on its track, on one scale of speeds.

    Args:
        shown: at least one.
        step: until which the lines are drawn, with the cars where they are then; None for whole races, with a car for each
            second.

    Raises:
        ResidualRLError: matplotlib is not installed.
    """
    need("matplotlib", *REPORTS)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    figure = Figure(figsize=(INCHES * len(shown) + 0.9, INCHES), layout="constrained")
    canvas, scale = FigureCanvasAgg(figure), Normalize(0.0, CAR.top_speed)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, drive in zip(panels, shown, strict=True):
        _draw_track(axes, drive.track)
        path = drive.path if step is None else drive.path[: step + 1]
        segments = np.stack([path[:-1, :2], path[1:, :2]], axis=1)
        lines = LineCollection(list(segments), cmap=COLORS, norm=scale, linewidths=1.8, capstyle="round", zorder=3)
        lines.set_array(path[1:, 3])
        axes.add_collection(lines)
        for place in path[:: round(CAR_EVERY / 0.02)] if step is None else path[-1:]:
            axes.add_patch(_car(place))
        if drive.collided and len(path) == len(drive.path):
            axes.plot(*path[-1, :2], "x", color=COLLISION, markersize=11, markeredgewidth=3, zorder=5)
        axes.set_title(f"{drive.driver} on {drive.track.name}: {drive.in_words}", fontsize=11, pad=8)
    figure.colorbar(panels[-1].collections[-1], ax=list(panels), label="speed, m/s", shrink=0.75, pad=0.01)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def save(path: str | Path, shown: Sequence[Drive]) -> None:
    """Write a PNG of some drives side by side, atomically.

    Raises:
        ResidualRLError: matplotlib or Pillow is not installed.
    """
    from residual_rl.pictures.video import png

    image = png(draw(shown))
    write_whole(Path(path), lambda beside: beside.write_bytes(image))


def _draw_track(axes: Any, track: Track) -> None:
    right, left = (np.concatenate([wall, wall[:1]]) for wall in track.walls)
    axes.fill(*np.concatenate([right, left[::-1]]).T, color=ASPHALT, zorder=0, linewidth=0)
    for wall in (right, left):
        axes.plot(*wall.T, color=WALL, linewidth=1.1, zorder=1)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _car(place: np.ndarray) -> Any:
    """The car's outline, to scale."""
    from matplotlib.patches import Polygon

    x, y, yaw, _ = place
    ahead, aside = np.array([np.cos(yaw), np.sin(yaw)]) * CAR.length / 2, np.array([-np.sin(yaw), np.cos(yaw)]) * CAR.width / 2
    corners = np.array([x, y]) + np.stack([ahead + aside, ahead - aside, -ahead - aside, aside - ahead])
    return Polygon(corners, closed=True, facecolor="#1b1d22", edgecolor="white", linewidth=0.4, zorder=4)
