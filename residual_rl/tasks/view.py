"""The view of a task: data for drawing it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Color = tuple[float, float, float, float]
"""Red, green, blue and opacity, each in [0, 1]."""


@dataclass(frozen=True)
class View:
    """Camera, colours, and the goal's marker."""

    lookat: tuple[float, float, float]
    """m, the point in the middle of the picture."""
    distance: float
    """m from there to the camera."""
    azimuth: float
    """degrees about the vertical; at 0 the camera looks along x, at 90 along y."""
    elevation: float
    """degrees; -90 looks straight down."""
    colors: Mapping[str, Color] = field(default_factory=dict)
    """Colours by prefix of a body's or a geom's name. The last match counts; without one the model's own colour stays."""
    goal: Literal["disc", "ball"] | None = "disc"
    """The marker lies on `surface`, or hangs above it on a thread; None if there is no goal to show, or the model shows it."""
    goal_radius: float = 0.05
    """m"""
    surface: float = 0.0
    """m, the height that a goal lies on or hangs above."""


FETCH_COLORS: Mapping[str, Color] = {
    "": (0.78, 0.80, 0.83, 1.0),
    "robot0:": (0.80, 0.83, 0.88, 0.25),  # the arm is nearly always between the camera and what it moves
    "robot0:gripper": (0.68, 0.72, 0.78, 0.50),
    "robot0:r_gripper_finger": (0.15, 0.15, 0.17, 1.0),
    "robot0:l_gripper_finger": (0.15, 0.15, 0.17, 1.0),
    "robot0:mocap": (0.0, 0.0, 0.0, 0.0),
    "table0": (0.97, 0.97, 0.95, 1.0),
    "object0": (0.95, 0.70, 0.15, 1.0),
}
FETCH_TABLE = 0.4  # m, the height of its top

PUSH = View(
    lookat=(1.295, 0.75, 0.41),
    distance=0.66,
    azimuth=180.0,
    elevation=-57.0,
    colors=FETCH_COLORS,
    surface=FETCH_TABLE,
)
PICK_AND_PLACE = View(
    lookat=(1.32, 0.75, 0.57),
    distance=1.05,
    azimuth=145.0,
    elevation=-30.0,
    colors=FETCH_COLORS,
    goal="ball",
    surface=FETCH_TABLE,
)
HOOK = View(
    lookat=(1.46, 0.7, 0.42),
    distance=1.35,
    azimuth=90.0,
    elevation=-50.0,
    colors={**FETCH_COLORS, "hook": (0.53, 0.40, 0.72, 1.0), "bump": (0.80, 0.74, 0.66, 1.0)},
    surface=FETCH_TABLE,
)
ADROIT = View(lookat=(0.0, -0.05, 0.2), distance=1.3, azimuth=50.0, elevation=-30.0, goal=None)
MIME = View(lookat=(0.4, 0.0, 0.15), distance=1.5, azimuth=120.0, elevation=-25.0, goal=None)
PUSHER = View(
    lookat=(0.35, -0.25, -0.3),
    distance=1.5,
    azimuth=-90.0,
    elevation=-55.0,
    colors={
        "table": (0.97, 0.97, 0.95, 1.0),
        "robot0:": (0.68, 0.72, 0.78, 0.5),
        "robot0:wrist_roll": (0.15, 0.15, 0.17, 1.0),
        "robot0:tips": (0.15, 0.15, 0.17, 1.0),
        "object0": FETCH_COLORS["object0"],
    },
    goal_radius=0.08,
    surface=-0.325,
)
