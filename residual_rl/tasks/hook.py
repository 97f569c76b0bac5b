"""Hook: a cube out of reach, and a hook with which to pull it nearer. `noisy_hook.py` adds noise to both.

Observation (40): the 25 entries of `fetch.py`, then the hook's. Its site is the nominal place to grasp it, near the end of its
shaft. Lengths in m, angles in rad, velocities in m or rad per step:

| entries | what | |
|---|---|---|
| 25-27 | hook position | of its site |
| 28-30 | hook rotation | Euler angles about x, y, z |
| 31-33 | hook velocity | of its site, minus the gripper's |
| 34-36 | hook angular velocity | |
| 37-39 | hook minus gripper | |

Source: Silver et al. 2018, section V-A, and the code published with it.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot read.

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from residual_rl.tasks.fetch import (
    BASE,
    STEP_SECONDS,
    WITH_HEAD,
    FetchArm,
    State,
    euler_angles,
    fetch_model,
    fetch_spec,
    settled_state,
)
from residual_rl.tasks.physics import state_columns
from residual_rl.tasks.rules import HOOK as SPEC
from residual_rl.tasks.versions import set_damping
from residual_rl.types import Observation

EXTRA_HEIGHT = 0.2  # m, the gripper starts this much higher than with its fingertips on the table

TABLE_CENTER = (1.65, 0.75, 0.2)  # m
TABLE_HALF_SIZE = (0.5, 0.45, 0.2)  # m; its top is at 0.4, its near edge at x = 1.15
FLOOR = ((1.42, 0.75, 0.0), (1.0, 0.7, 1.0))  # m, centre, and half-size as drawn; for contacts it is infinite

HALF_THICKNESS = 0.015  # m, of shaft and head
SHAFT_HALF_LENGTH = 0.4  # m, along x
HEAD_HALF_LENGTH = 0.1  # m, along y
HEAD_CENTER = (0.4, 0.085, 0.0)  # m, in the hook's frame, whose origin is the shaft's centre
SITE = (-0.25, 0.0, 0.0)  # m, in the hook's frame
PART_MASS = 2.0  # kg, of shaft and head each
DAMPING = 0.01  # of the free joint: N s / m and N m s / rad

UPRIGHT = (1.0, 0.0, 0.0, 0.0)
OBJECT_DROPPED_AT = (1.25, 0.53, 0.4, *UPRIGHT)  # m and quaternion, where the cube settles before it is moved aside
HOOK_DROPPED_AT = (1.35, 0.35, 0.4, *UPRIGHT)  # 15 mm within the table, which lifts it; every episode starts with it there

SELF_CONTACTS = (  # a hand that drags the hook back and aside, towards the robot, brings these about
    *WITH_HEAD,
    ("robot0:torso_lift_link", "robot0:shoulder_lift_link"),
    (BASE, "robot0:gripper_link"),
    (BASE, "robot0:r_gripper_finger_link"),
    (BASE, "robot0:l_gripper_finger_link"),
)


@dataclass(frozen=True)
class Starts:
    """The distribution of starts and goals."""

    object_x: tuple[float, float] = (1.75, 1.90)
    """m, range of the object's start: beyond the arm's reach."""
    object_y: tuple[float, float] = (0.70, 0.80)
    """m"""
    goal: tuple[float, float, float] = (1.65, 0.75, 0.42)
    """m, its middle. The cube at rest is 5 mm higher."""
    goal_range: float = 0.05
    """m per axis, in the plane."""
    shared_goal_draw: bool = True
    """Whether one draw moves the goal along both axes, so that goals lie on a diagonal, as published. False draws two.

    Differs: the published code rejects starts within 10 cm of the goal's middle, which can occur only in a range that begins
    below 1.75; and it draws and drops one more number, which affects only its random stream.
    """

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw an object's start `[2]` and a goal `[3]`."""
        start = np.array([rng.uniform(*self.object_x), rng.uniform(*self.object_y)])
        goal = np.array(self.goal)
        goal[:2] += rng.uniform(-self.goal_range, self.goal_range, 1 if self.shared_goal_draw else 2)
        return start, goal


PUBLISHED_STARTS = Starts()


class HookWorld:
    """The physics and rules of Hook, for a batch of episodes. Stateless: states are arguments and results."""

    def __init__(self, num_threads: int | None = None):
        self.spec = SPEC
        self.arm = FetchArm(hook_model(), blocked=False, num_threads=num_threads)
        self._object = state_columns(hook_model(), "object0:joint")[0]
        self._start = hook_start()

    def reset(self, rngs: Sequence[np.random.Generator]) -> tuple[State, np.ndarray]:
        """Start an episode for each generator; return their state and desired goals `[E, 3]`."""
        physics = np.tile(self._start, (len(rngs), 1))
        goal = np.empty((len(rngs), 3))
        for lane, rng in enumerate(rngs):
            start, goal[lane] = PUBLISHED_STARTS.draw(rng)
            physics[lane, self._object.start : self._object.start + 2] = start
        return self.arm.at(physics), goal

    def step(self, state: State, action: np.ndarray) -> State:
        """Return the state after one action `[E, 4]` in [-1, 1]."""
        return self.arm.step(state, action)

    def observe(self, state: State, goal: np.ndarray) -> Observation:
        """Return the observation of a state."""
        achieved = self.arm.read(state, "object0_position").copy()
        return Observation(observation=observe_hook(self.arm, state), achieved_goal=achieved, desired_goal=goal.copy())

    def model_of(self, state: State, lane: int) -> mujoco.MjModel:
        """Return the model that shows a lane's episode."""
        return self.arm.physics.model

    def close(self) -> None:
        """End the physics threads."""
        self.arm.close()


def observe_hook(arm: FetchArm, state: State) -> np.ndarray:
    """Return the 40 entries `[E, 40]`."""
    hook = arm.read(state, "hook_position")
    return np.concatenate(
        [
            arm.observe(state),
            hook,
            euler_angles(arm.read(state, "hook_quaternion")),
            (arm.read(state, "hook_velocity") - arm.read(state, "gripper_velocity")) * STEP_SECONDS,
            arm.read(state, "hook_angular_velocity") * STEP_SECONDS,
            hook - arm.read(state, "gripper_position"),
        ],
        axis=1,
    )


@functools.cache
def hook_model(*, all_contacts: bool = False) -> mujoco.MjModel:
    """Return the scene's model, which is cached and shared: copy it before a change. `all_contacts` as in `fetch_model`."""
    return fetch_model(hook_spec(), ("object0", "hook"), self_contacts=SELF_CONTACTS, all_contacts=all_contacts)


@functools.cache
def hook_start() -> np.ndarray:
    """Return the physics state `[S]` from which episodes start, before the object is moved to its start."""
    placed = {"object0:joint": OBJECT_DROPPED_AT, "hook:joint": HOOK_DROPPED_AT}
    return settled_state(hook_model(), placed, EXTRA_HEIGHT)


def hook_spec() -> mujoco.MjSpec:
    """Return PickAndPlace's scene with a larger table, farther away, and a hook: site `hook`, free joint `hook:joint`."""
    spec = fetch_spec("pick_and_place.xml")
    spec.geom("floor0").pos, spec.geom("floor0").size = FLOOR
    table = spec.body("table0")
    table.pos = TABLE_CENTER
    table.geoms[0].size = TABLE_HALF_SIZE
    hook = spec.worldbody.add_body(name="hook")
    hook.add_freejoint(name="hook:joint")
    set_damping(hook.joints[0], DAMPING)
    hook.add_site(name="hook", pos=SITE)
    for name, center, half_size in (
        ("hook_shaft", (0.0, 0.0, 0.0), (SHAFT_HALF_LENGTH, HALF_THICKNESS, HALF_THICKNESS)),
        ("hook_head", HEAD_CENTER, (HALF_THICKNESS, HEAD_HALF_LENGTH, HALF_THICKNESS)),
    ):
        hook.add_geom(
            name=name, type=mujoco.mjtGeom.mjGEOM_BOX, pos=center, size=half_size, mass=PART_MASS, rgba=(0.2, 0.4, 0.8, 1.0)
        )
    return spec
