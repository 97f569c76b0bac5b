"""Push and SlipperyPush: a Fetch arm, a table, a block and a place where the block should be.

Observation (25), as in Gymnasium-Robotics' Fetch tasks. Lengths in m, angles in rad, velocities in m or rad per step:

| entries | what | |
|---|---|---|
| 0-2 | gripper position | world |
| 3-5 | object position | world |
| 6-8 | object minus gripper | |
| 9-10 | right and left finger joint | |
| 11-13 | object rotation | Euler angles about x, y, z |
| 14-16 | object velocity | minus the gripper's |
| 17-19 | object angular velocity | |
| 20-22 | gripper velocity | |
| 23-24 | right and left finger velocity | |

Source: Silver et al. 2018, section V-A, and the code published with it.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot see into.

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import mujoco
import numpy as np

from residual_rl.tasks.physics import Physics, state_columns
from residual_rl.types import Observation, Spec, StepInfo

GRIPPER_POSITION = slice(0, 3)
OBJECT_POSITION = slice(3, 6)

SUBSTEPS = 20
STEP_SECONDS = 0.04  # 20 substeps of 2 ms
DISTANCE_THRESHOLD = 0.05  # m, success when the object is nearer to the goal
MAX_DISPLACEMENT = 0.05  # m a step, the gripper command at action 1
HORIZON = 50
START_RANGE = 0.15  # m, block and goal lie within this of the gripper, per axis
START_CLEARANCE = 0.1  # m, the block starts at least this far from the gripper
GRIPPER_START = (-0.498, 0.005, -0.431)  # m, from the arm's rest pose to where an episode begins
SETTLING_STEPS = 10
POINTING_DOWN = (1.0, 0.0, 1.0, 0.0)  # added to the hand's quaternion: draws it to point straight down
FINGERS = ("robot0:r_gripper_finger_joint", "robot0:l_gripper_finger_joint")  # in observation order


@dataclass(frozen=True)
class Scene:
    """What makes one Push task differ from another."""

    friction: tuple[float, float, float] | None = None
    """Sliding, torsional and rolling friction of every geom; None keeps the model's own.

    MuJoCo takes the larger of the two geoms' friction in a contact. Slippery therefore needs all geoms changed, as the
    published code did; the paper speaks of the block alone, which would change nothing.
    """


SPEC = Spec(observation_size=25, goal_size=3, action_size=4, horizon=HORIZON, reward_range=(-1.0, 0.0))

PUSH = Scene()
SLIPPERY_PUSH = Scene(friction=(0.18, 0.005, 0.0001))


class State(NamedTuple):
    """Where a batch of episodes stands."""

    physics: np.ndarray
    """[E, S] MuJoCo's full physics state."""
    sensors: np.ndarray
    """[E, sensors] read at that state."""


class FetchWorld:
    """The physics of a Push task, for a batch of episodes at once. Stateless: states go in and come out."""

    def __init__(self, scene: Scene, num_threads: int | None = None):
        self.scene = scene
        self.spec = SPEC
        self.physics = Physics(fetch_model(scene), SUBSTEPS, num_threads)
        model = self.physics.model
        self._finger_positions, self._finger_velocities = (
            [columns.start for columns in pair]
            for pair in zip(*(state_columns(model, finger) for finger in FINGERS), strict=True)
        )
        self._object = state_columns(model, "object0:joint")[0]
        # The published SlipperyPush settles at stock friction too, and becomes slippery only then.
        self._start = _settled_state(fetch_model(PUSH))
        sensors = self.physics.sense(self._start[None])[0]
        self._gripper_start = sensors[self._at("gripper_position")]
        self._object_height = sensors[self._at("object_position")][2]

    def _at(self, sensor: str) -> slice:
        return self.physics.sensor_columns(sensor)

    def reset(self, rngs: Sequence[np.random.Generator]) -> tuple[State, np.ndarray]:
        """New episodes, one for each generator: their state and desired goals `[E, G]`."""
        physics = np.repeat(self._start[None], len(rngs), axis=0)
        goal = np.empty((len(rngs), 3))
        center = self._gripper_start[:2]
        for lane, rng in enumerate(rngs):
            start = rng.uniform(-START_RANGE, START_RANGE, 2)
            while np.linalg.norm(start) < START_CLEARANCE:
                start = rng.uniform(-START_RANGE, START_RANGE, 2)
            physics[lane, self._object.start : self._object.start + 2] = center + start
            goal[lane, :2] = center + rng.uniform(-START_RANGE, START_RANGE, 2)
            goal[lane, 2] = self._object_height
        return State(physics, self.physics.sense(physics)), goal

    def step(self, state: State, action: np.ndarray) -> State:
        """The state after one action `[E, A]` in [-1, 1]: gripper displacement in units of 5 cm, and the fingers.

        The fingers have no motor in these tasks: they are held closed, and their command has no effect.
        """
        sensors = state.sensors
        displacement = MAX_DISPLACEMENT * action[:, :3]
        control = np.concatenate(
            [
                sensors[:, self._at("hand_position")] + displacement,
                sensors[:, self._at("hand_quaternion")] + POINTING_DOWN,
            ],
            axis=1,
        )
        physics = self.physics.step(state.physics, control)
        physics[:, self._finger_positions] = 0.0
        return State(physics, self.physics.sense(physics))

    def observe(self, state: State, goal: np.ndarray) -> Observation:
        """What the state looks like to a policy."""
        physics, sensors = state
        gripper = sensors[:, self._at("gripper_position")]
        object_ = sensors[:, self._at("object_position")]
        gripper_velocity = sensors[:, self._at("gripper_velocity")] * STEP_SECONDS
        object_velocity = sensors[:, self._at("object_velocity")] * STEP_SECONDS
        observation = np.concatenate(
            [
                gripper,
                object_,
                object_ - gripper,
                physics[:, self._finger_positions],
                euler_angles(sensors[:, self._at("object_quaternion")]),
                object_velocity - gripper_velocity,
                sensors[:, self._at("object_angular_velocity")] * STEP_SECONDS,
                gripper_velocity,
                physics[:, self._finger_velocities] * STEP_SECONDS,
            ],
            axis=1,
        )
        return Observation(observation=observation, achieved_goal=object_.copy(), desired_goal=goal.copy())

    def close(self) -> None:
        """Ends the physics threads."""
        self.physics.close()


def success(achieved_goal: np.ndarray, desired_goal: np.ndarray) -> np.ndarray:
    """Whether the object is within 5 cm of the goal: `[..., G], [..., G] -> [...]` bool."""
    return np.linalg.norm(np.asarray(achieved_goal) - desired_goal, axis=-1) < DISTANCE_THRESHOLD


def reward(achieved_goal: np.ndarray, desired_goal: np.ndarray, info: StepInfo | None = None) -> np.ndarray:
    """0 where the object is at the goal, -1 elsewhere: `[..., G], [..., G] -> [...]` float32.

    Differs: the paper describes 1 and 0; its code, and Fetch, reward with 0 and -1.
    """
    far = np.linalg.norm(np.asarray(achieved_goal) - desired_goal, axis=-1) > DISTANCE_THRESHOLD
    return -far.astype(np.float32)


def fetch_model(scene: Scene, *, robot_self_contacts: bool = False) -> mujoco.MjModel:
    """The Fetch push model of Gymnasium-Robotics, with the scene's friction and the sensors that an observation is made of.

    Testing the robot's links for contact with one another costs a large part of a step, and where blocks and goals lie they
    never touch: only a hand driven more than 0.25 m away from its start can press the arm against the body. The collision
    bits leave those pairs out: robot links meet everything else, and everything else meets everything.
    `robot_self_contacts=True` keeps the pairs, to show what is lost.
    """
    spec = mujoco.MjSpec.from_file(str(_asset("push.xml")))
    for geom in spec.geoms:
        if scene.friction is not None:
            geom.friction = scene.friction
        collides = geom.contype or geom.conaffinity
        if collides and not robot_self_contacts:
            on_robot = geom.parent.name.startswith("robot0:")
            geom.contype, geom.conaffinity = (2, 1) if on_robot else (1, 3)
    for name, kind, objtype, objname in (
        ("gripper_position", "FRAMEPOS", "SITE", "robot0:grip"),
        ("gripper_velocity", "FRAMELINVEL", "SITE", "robot0:grip"),
        ("hand_position", "FRAMEPOS", "XBODY", "robot0:gripper_link"),
        ("hand_quaternion", "FRAMEQUAT", "XBODY", "robot0:gripper_link"),
        ("object_position", "FRAMEPOS", "SITE", "object0"),
        ("object_quaternion", "FRAMEQUAT", "SITE", "object0"),
        ("object_velocity", "FRAMELINVEL", "SITE", "object0"),
        ("object_angular_velocity", "FRAMEANGVEL", "SITE", "object0"),
    ):
        spec.add_sensor(
            name=name,
            type=getattr(mujoco.mjtSensor, f"mjSENS_{kind}"),
            objtype=getattr(mujoco.mjtObj, f"mjOBJ_{objtype}"),
            objname=objname,
        )
    model = spec.compile()
    weld = model.eq_type == mujoco.mjtEq.mjEQ_WELD
    model.eq_data[weld, :7] = (0, 0, 0, 0, 0, 0, 1)  # the hand is welded onto the mocap body, not beside it
    return model


def _asset(name: str) -> Path:
    """A file of Gymnasium-Robotics' Fetch model. The package is located, not imported: its code is not needed."""
    package = find_spec("gymnasium_robotics")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the Fetch robot model comes with gymnasium-robotics: pip install gymnasium-robotics")
    return Path(package.origin).parent / "envs" / "assets" / "fetch" / name


def _settled_state(model: mujoco.MjModel) -> np.ndarray:
    """The physics state `[S]` from which every episode starts: the arm in place, all at rest."""
    data = mujoco.MjData(model)
    for joint, position in (("robot0:slide0", 0.405), ("robot0:slide1", 0.48), ("robot0:slide2", 0.0)):
        data.joint(joint).qpos[0] = position
    data.joint("object0:joint").qpos[:] = (1.25, 0.53, 0.4, 1.0, 0.0, 0.0, 0.0)
    mujoco.mj_forward(model, data)
    data.mocap_pos[0] = data.site("robot0:grip").xpos + GRIPPER_START
    data.mocap_quat[0] = POINTING_DOWN
    mujoco.mj_step(model, data, SETTLING_STEPS * SUBSTEPS)
    data.time = 0.0
    state = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS))
    mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    return state


def euler_angles(quaternion: np.ndarray) -> np.ndarray:
    """Rotation about x, then the new y, then the new z, in rad: `[B, 4]` (w, x, y, z) -> `[B, 3]`."""
    w, x, y, z = quaternion.T
    sin_y = np.clip(2 * (w * y + x * z), -1.0, 1.0)
    about_x = np.arctan2(2 * (w * x - y * z), 1 - 2 * (x * x + y * y))
    about_z = np.arctan2(2 * (w * z - x * y), 1 - 2 * (y * y + z * z))
    return np.stack([about_x, np.arcsin(sin_y), about_z], axis=1)
