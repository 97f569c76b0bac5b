"""The Mime tasks: an arm that is commanded by velocities of its tool, a gripper, a cube; what an episode is.

Observation from state, lengths in m, velocities in m/s:

| entries | what |
|---|---|
| 0 | how far the gripper is closed, 0 to 1.05 rad |
| 1 | its velocity: 2 opened, -2 closed, in between the commanded one |
| 2-4 | velocity of the tool |
| 5-7 | position of the tool |
| 8-10 | position of the cube (`bowl`: of the bowl, then 11-13 the cube's) |

The first eight are proprioception. Action (4): velocity of the tool as a share of the largest along x, y and z, which is 0.075
m/s (`bowl`: 0.1), and of the gripper: negative closes it, positive opens it, 0 holds it. 10 Hz.

Source: Alakuijala et al. 2021 and the environments it used. Differs: edges of cubes and radii of bowls come in steps of 1 mm; a
finger counts as blocked if it is behind its target; walls have one size; the tool does not start within reach of an object. The
scene of `place-push` is our own, because no copy of the published one is public.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot read.

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cache
from typing import Any, NamedTuple

import mujoco
import numpy as np

from residual_rl.tasks.camera import Camera, free_camera
from residual_rl.tasks.mime.arm import joints_at, joints_from_start, reaches, tool_pose
from residual_rl.tasks.mime.gripper import CLOSE, Gripper, finger_targets, moved
from residual_rl.tasks.mime.models import (
    FAR_AWAY,
    PLACE,
    PLACE_HALF,
    TIME_STEP,
    WALL_GROUP,
    WALLS,
    bowl_height,
    mime_model,
    mime_picture_model,
    with_objects,
)
from residual_rl.tasks.mime.task import SPECS
from residual_rl.tasks.physics import CONTROL, Physics, state_columns
from residual_rl.tasks.view import MIME, View
from residual_rl.types import Observation

SUBSTEPS = 24
STEP_SECONDS = SUBSTEPS * TIME_STEP
FASTEST = {"pick": 0.075, "bowl": 0.1, "place-push": 0.075}
LOW, HIGH = np.array([0.25, -0.3, 0.02]), np.array([0.8, 0.3, 0.3])
"""m, the workspace of the tool. `bowl` begins at a height of 0.03."""
AREA = ((0.30, 0.75), (-0.25, 0.25))
"""m, where cubes and bowls lie, and over which the tool starts."""
AREA_TO_PUSH = ((0.35, 0.65), (-0.2, 0.2))
"""m, where the cube lies in `place-push`: the tool can reach behind it."""
TOOL_HEIGHTS = {"pick": (0.02, 0.30), "bowl": (0.08, 0.25), "place-push": (0.08, 0.25)}
EDGES = {"pick": (0.03, 0.08), "bowl": (0.04, 0.065), "place-push": (0.04, 0.065)}
RADII = (0.067, 0.087)
HIGHEST = 0.22
"""m, up to where the tool can go above every object. Differs: farther places are drawn again, because a UR5 with its base at
the origin does not reach them."""
GAP = 0.03
"""m at least between the boxes around cube and bowl."""
LIFTED = 0.08
STRAY = 0.1
"""rad: a joint that is this far from its target ends the episode."""
CAMERA = View(lookat=(0.0, 0.0, 0.0), distance=1.62, azimuth=180.0, elevation=-28.0, goal=None)
FIELD_OF_VIEW = 60.0
NEAR, FAR = 0.5, 2.0
VIEWPOINT = {"lookat": 0.05, "distance": 0.05, "azimuth": 20.0, "elevation": 6.0}
"""m and degrees, by how much the viewpoints of recordings differ from the fixed one."""
SETTLING_STEPS = 5


class State(NamedTuple):
    """Where the episodes stand."""

    physics: np.ndarray
    """[E, S] MuJoCo's full physics state."""
    place: np.ndarray
    """[E, 7 * 5] positions and quaternions of the walls and of what the gripper holds."""
    target: np.ndarray
    """[E, 3] m, where the tool is commanded to be."""
    joints: np.ndarray
    """[E, 6] rad, where the arm's joints are commanded to be."""
    tool: np.ndarray
    """[E, 3] m, where the tool is."""
    velocity: np.ndarray
    """[E, 3] m/s of the tool, in the last step."""
    drives: np.ndarray
    """[E, 3] rad, how far each finger is closed."""
    mode: np.ndarray
    """[E] of the gripper, see `gripper.py`."""
    grip_velocity: np.ndarray
    """[E] as observed."""
    held: np.ndarray
    """[E] bool, whether the cube is held."""
    offset: np.ndarray
    """[E, 7] m from the tool to the cube that is held, and its quaternion."""
    edge: np.ndarray
    """[E] m, of the cube."""
    radius: np.ndarray
    """[E] m, of the bowl; 0 if there is none."""
    failed: np.ndarray
    """[E] bool, whether the arm has lost its target."""


class MimeWorld:
    """The physics and rules of a Mime task, for a batch of episodes. Stateless: states are arguments and results.

    Args:
        task: `pick`, `bowl` or `place-push`.
        num_threads: physics threads; None for one on each core.
    """

    proprioception_size = 8

    def __init__(self, task: str, num_threads: int | None = None):
        self.task = task
        self.spec = SPECS[task]
        model = mime_model(task)
        control = CONTROL | mujoco.mjtState.mjSTATE_EQ_ACTIVE
        self.physics = Physics(model, SUBSTEPS, num_threads, control=control)
        self.gripper = Gripper(model)
        self.low = np.array([*LOW[:2], 0.03]) if task == "bowl" else LOW
        self._arm = slice(1, 7)
        self._cube = state_columns(model, "cube")[0]
        self._bowl = state_columns(model, "bowl")[0] if task == "bowl" else None
        self._walls = len(WALLS)

    def reset(self, rngs: Sequence[np.random.Generator]) -> tuple[State, np.ndarray]:
        """Start an episode for each generator; goals have width 0."""
        lanes = len(rngs)
        edge, radius, tool = np.empty(lanes), np.zeros(lanes), np.empty((lanes, 3))
        physics = np.zeros((lanes, self.physics.state_size))
        bodies = self._walls + 1
        place = np.zeros((lanes, 7 * bodies))
        place[:, 3 * bodies :: 4] = 1.0
        for lane, rng in enumerate(rngs):
            edge[lane] = round(rng.uniform(*EDGES[self.task]), 3)
            tool[lane] = self._draw_tool(rng)
            cube, bowl, radius[lane] = self._draw_objects(rng, edge[lane], tool[lane])
            physics[lane, self._cube] = (*cube, edge[lane] / 2, 1.0, 0.0, 0.0, 0.0)
            if self._bowl is not None:
                physics[lane, self._bowl] = (*bowl, bowl_height(radius[lane]) / 2, 1.0, 0.0, 0.0, 0.0)
            _draw_walls(rng, place[lane], bodies)
        joints = joints_from_start(tool)
        physics[:, self._arm] = joints
        opened = np.zeros((lanes, 3))
        physics[:, self.gripper.columns] = finger_targets(opened)
        state = State(
            physics=physics,
            place=place,
            target=tool.copy(),
            joints=joints,
            tool=tool_pose(joints)[0],
            velocity=np.zeros((lanes, 3)),
            drives=opened,
            mode=np.zeros(lanes, np.int64),
            grip_velocity=np.full(lanes, 2.0),
            held=np.zeros(lanes, dtype=bool),
            offset=np.tile([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0], (lanes, 1)),
            edge=edge,
            radius=radius,
            failed=np.zeros(lanes, dtype=bool),
        )
        return state, np.zeros((lanes, 0))

    def _draw_tool(self, rng: np.random.Generator) -> np.ndarray:
        """Return where the tool starts: within reach."""
        while True:
            tool = np.array([*(rng.uniform(*side) for side in AREA), rng.uniform(*TOOL_HEIGHTS[self.task])])
            if reaches(tool):
                return tool

    def _draw_objects(self, rng: np.random.Generator, edge: float, tool: np.ndarray) -> tuple[Any, Any, float]:
        """Return where the cube and the bowl lie, and the bowl's radius: apart from each other and from the tool."""
        radius = round(rng.uniform(*RADII), 3) if self.task == "bowl" else 0.0
        while True:
            cube = np.array([rng.uniform(*side) for side in (AREA_TO_PUSH if self.task == "place-push" else AREA)])
            bowl = np.array([rng.uniform(*side) for side in AREA])
            apart = np.abs(cube - bowl).max() > edge / 2 + radius + GAP if radius else True
            if self.task == "place-push":
                apart = np.abs(cube - PLACE).max() > PLACE_HALF + edge
            # A finger that starts in a cube or a bowl would throw it away.
            low = tool[2] < 0.15
            near = [
                one for one, size in ((cube, edge / 2), (bowl, radius)) if size and np.abs(one - tool[:2]).max() < size + 0.13
            ]
            within = all(reaches(np.array([*one, HIGHEST])) for one in (cube, bowl)[: 1 + bool(radius)])
            if apart and within and not (low and near):
                return cube, bowl, radius

    def step(self, state: State, action: np.ndarray) -> State:
        """Return the state after one action `[E, 4]` in [-1, 1]."""
        velocity = FASTEST[self.task] * action[:, :3]
        target = self._where_it_may_go(state.target, velocity)
        joints, found = joints_at(target, state.joints)
        target = np.where(found[:, None], target, state.target)
        command = 2.0 * action[:, 3]
        mode, drives = moved(state.mode, state.drives, command, STEP_SECONDS)
        held = state.held & (command <= 0.0)
        controls = self._controls(state, target, joints, drives, held)
        sizes = zip(state.edge.tolist(), state.radius.tolist(), strict=True)
        models = [mime_model(self.task, edge, radius) for edge, radius in sizes]
        trace = self.physics.play(state.physics, controls, models)
        physics = trace[:, -1].copy()
        elapsed = physics[:, 0] - state.physics[:, 0]
        physics[~(np.abs(elapsed - STEP_SECONDS) < TIME_STEP / 2)] = np.nan
        tool = tool_pose(physics[:, self._arm])[0]
        was_closing = mode == CLOSE.under_way
        mode, drives, blocked = self.gripper.look(physics, mode, drives)
        cube = physics[:, self._cube]
        away = np.abs(cube[:, :3] - tool)
        near = (away[:, :2].max(axis=1) < state.edge / 2 + 0.05) & (away[:, 2] < state.edge / 2 + 0.04)
        grasped = was_closing & (mode == CLOSE.done) & blocked & near
        offset = np.where(grasped[:, None], np.concatenate([cube[:, :3] - tool, cube[:, 3:7]], axis=1), state.offset)
        shown = np.where(mode == CLOSE.done, -2.0, np.where(mode == 0, 2.0, command))
        return State(
            physics=physics,
            place=self._place(state.place, target, held | grasped, offset),
            target=target,
            joints=joints,
            tool=tool,
            velocity=(tool - state.tool) / STEP_SECONDS,
            drives=drives,
            mode=mode,
            grip_velocity=shown,
            held=held | grasped,
            offset=offset,
            edge=state.edge.copy(),
            radius=state.radius.copy(),
            failed=state.failed | (np.abs(physics[:, self._arm] - joints).max(axis=1) > STRAY),
        )

    def _where_it_may_go(self, start: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Return where the tool goes: in a straight line, until it would leave the workspace."""
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(
                velocity > 0, (HIGH - start) / velocity, np.where(velocity < 0, (self.low - start) / velocity, np.inf)
            )
        seconds = np.clip(room.min(axis=1), 0.0, STEP_SECONDS)
        return start + velocity * (np.floor(seconds / TIME_STEP + 1e-9) * TIME_STEP)[:, None]

    def _controls(
        self, state: State, target: np.ndarray, joints: np.ndarray, drives: np.ndarray, held: np.ndarray
    ) -> np.ndarray:
        """Return the controls `[E, 24, C]` of the time steps of a step."""
        shares = (np.arange(SUBSTEPS) + 1.0)[None, :, None] / SUBSTEPS
        path = state.joints[:, None] + shares * (joints - state.joints)[:, None]
        fingers = np.repeat(self.gripper.controls(drives)[:, None], SUBSTEPS, axis=1)
        tool = state.target[:, None] + shares * (target - state.target)[:, None]
        bodies = self._walls + 1
        place = np.repeat(self._place(state.place, target, held, state.offset)[:, None], SUBSTEPS, axis=1)
        grip = slice(3 * self._walls, 3 * bodies)
        place[:, :, grip] = np.where(held[:, None, None], tool + state.offset[:, None, :3], FAR_AWAY)
        active = np.repeat(held.astype(float)[:, None, None], SUBSTEPS, axis=1)
        return np.concatenate([path, fingers, active, place], axis=2)

    def _place(self, place: np.ndarray, target: np.ndarray, held: np.ndarray, offset: np.ndarray) -> np.ndarray:
        place, bodies = place.copy(), self._walls + 1
        place[:, 3 * self._walls : 3 * bodies] = np.where(held[:, None], target + offset[:, :3], FAR_AWAY)
        place[:, -4:] = np.where(held[:, None], offset[:, 3:], (1.0, 0.0, 0.0, 0.0))
        return place

    def proprioception(self, state: State) -> np.ndarray:
        """Return gripper, its velocity, the tool's velocity and position: `[E, 8]`."""
        grip = state.drives.mean(axis=1)
        return np.column_stack([grip, state.grip_velocity, state.velocity, state.tool])

    def observe(self, state: State, goal: np.ndarray) -> Observation:
        """Return the observation of a state."""
        objects = [state.physics[:, self._cube][:, :3]]
        if self._bowl is not None:
            objects.insert(0, state.physics[:, self._bowl][:, :3])
        seen = np.concatenate([self.proprioception(state), *objects], axis=1)
        return Observation(observation=seen, achieved_goal=goal.copy(), desired_goal=goal.copy())

    def signals(self, state: State) -> Mapping[str, np.ndarray]:
        """Return `is_success`, `terminated` `[E]` bool and `dense_reward` `[E]` of the last step."""
        cube = state.physics[:, self._cube][:, :3]
        reward = -np.linalg.norm(cube - state.tool, axis=1)
        if self.task == "pick":
            success = cube[:, 2] > LIFTED
        elif self._bowl is not None:
            bowl = state.physics[:, self._bowl][:, :3]
            over = np.linalg.norm(cube[:, :2] - bowl[:, :2], axis=1) < 0.04
            success = over & (cube[:, 2] + state.edge / 2 > bowl[:, 2] - 0.02)
            reward = reward - np.linalg.norm(cube - bowl, axis=1)
        else:
            success = np.abs(cube[:, :2] - PLACE).max(axis=1) < PLACE_HALF
            reward = reward - np.linalg.norm(cube[:, :2] - PLACE, axis=1)
        success = success & ~state.failed
        return {"is_success": success, "terminated": success | state.failed, "dense_reward": reward + success}

    def take(self, eye: Any, state: State, lanes: np.ndarray, out: np.ndarray) -> None:
        """Write pictures of some lanes `[L]` of a state into `out` `[L, size, size, channels]`."""

        def change(row: int, model: mujoco.MjModel) -> None:
            with_objects(model, float(state.edge[lanes[row]]), float(state.radius[lanes[row]]))

        eye.take(state.physics[lanes], state.place[lanes], out, change)

    def camera(self, size: int) -> Camera:
        """Return the depth camera in front of the robot, for pictures of `size` pixels. All environments share it."""
        return _camera(self.task, size)

    def onlooker(self, size: int) -> Camera:
        """Return a camera that shows the scene to people, from the side."""
        return _onlooker(self.task, size)

    def model_of(self, state: State, lane: int) -> mujoco.MjModel:
        """Return a model that shows a lane's episode."""
        model = with_objects(copy(mime_picture_model(self.task, 8)), float(state.edge[lane]), float(state.radius[lane]))
        for name in WALLS:
            model.body(name).pos[:] = FAR_AWAY
        return model

    def close(self) -> None:
        """End the physics threads."""
        self.physics.close()


def viewpoints(rng: np.random.Generator, number: int = 5) -> list[mujoco.MjvCamera]:
    """Draw the viewpoints of a recorded episode. Source: Alakuijala et al. 2021."""
    lenses = []
    for _ in range(number):
        about = [rng.uniform(-VIEWPOINT["lookat"], VIEWPOINT["lookat"]) for _ in range(3)]
        changed = {
            name: getattr(CAMERA, name) + rng.uniform(-VIEWPOINT[name], VIEWPOINT[name])
            for name in ("distance", "azimuth", "elevation")
        }
        lenses.append(free_camera(View(lookat=(about[0], about[1], about[2]), goal=None, **changed)))
    return lenses


@cache
def _camera(task: str, size: int) -> Camera:
    model = mime_picture_model(task, size)
    model.vis.global_.fovy = FIELD_OF_VIEW
    return Camera(model, free_camera(CAMERA), size, "depth", NEAR, FAR, groups=(WALL_GROUP,))


@cache
def _onlooker(task: str, size: int) -> Camera:
    return Camera(mime_picture_model(task, size), free_camera(MIME), size)


def _draw_walls(rng: np.random.Generator, place: np.ndarray, bodies: int) -> None:
    """Draw where the walls stand: around a middle near the origin, facing inwards."""
    away = rng.uniform(0.45, 0.7)
    middle = np.array([rng.uniform(0.0, 0.05), rng.uniform(0.0, 0.05), 0.2 + rng.uniform(0.0, 0.05)])
    for number, normal in enumerate(WALLS.values()):
        place[3 * number : 3 * number + 3] = middle - away * np.array([*normal, 0.0])
        quaternion = np.empty(4)
        mujoco.mju_quatZ2Vec(quaternion, np.array([*normal, 0.0]))
        place[3 * bodies + 4 * number : 3 * bodies + 4 * number + 4] = quaternion
