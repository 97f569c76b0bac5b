"""The Fetch arm: its commands, the observation of arm and object, and its model without the parts that have no effect.

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
# MuJoCo's names come from compiled modules, which the type checker cannot read.

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import mujoco
import numpy as np

from residual_rl.optional import WORLDS, missing
from residual_rl.tasks.physics import Physics, state_columns
from residual_rl.tasks.versions import margin_of_contact

SUBSTEPS = 20
STEP_SECONDS = 0.04  # 20 substeps of 2 ms
MAX_DISPLACEMENT = 0.05  # m a step, the gripper command at action 1
GRIPPER_START = (-0.498, 0.005, -0.431)  # m, from the arm's rest pose to where an episode begins
SETTLING_STEPS = 10
POINTING_DOWN = (1.0, 0.0, 1.0, 0.0)  # added to the hand's quaternion: draws it to point straight down
FINGERS = ("robot0:r_gripper_finger_joint", "robot0:l_gripper_finger_joint")  # in observation order
GRIPPER_AND_OBJECT = (  # sensors
    "gripper_position",
    "gripper_velocity",
    "object0_position",
    "object0_velocity",
    "object0_angular_velocity",
)
ROBOT_START = {"robot0:slide0": 0.405, "robot0:slide1": 0.48, "robot0:slide2": 0.0}  # m

ROBOT = "robot0:"  # how the names of its bodies begin
BASE = "robot0:base_link"
HEAD = ("robot0:head_pan_link", "robot0:head_tilt_link")
FIXED_LINKS = (  # they stand still, up to the yielding of very stiff joints
    BASE,
    "robot0:torso_fixed_link",
    "robot0:torso_lift_link",
    "robot0:estop_link",
    "robot0:laser_link",
    *HEAD,
)


UPPER_ARM = "robot0:upperarm_roll_link"
LinkPair = tuple[str, str]
WITH_HEAD: tuple[LinkPair, ...] = tuple((UPPER_ARM, part) for part in HEAD)  # a hand high up and to the side brings it about


class State(NamedTuple):
    """The state of a batch of episodes."""

    physics: np.ndarray
    """[E, S] MuJoCo's full physics state."""
    sensors: np.ndarray
    """[E, sensors] as the observation reads them."""


class FetchArm:
    """The arm among its objects, for a batch of episodes. Stateless: states are arguments and results.

    Args:
        model: from `fetch_model`.
        blocked: whether the fingers are held closed, as in the push tasks; their command then has no effect.
        num_threads: physics threads; None for one on each core.
    """

    def __init__(self, model: mujoco.MjModel, *, blocked: bool, num_threads: int | None = None):
        self.blocked = blocked
        self.physics = Physics(model, SUBSTEPS, num_threads)
        columns = [state_columns(model, finger) for finger in FINGERS]
        self._finger_positions = [position.start for position, _ in columns]
        self._finger_velocities = [velocity.start for _, velocity in columns]
        # Motors in the model's own order; there are none if the fingers are held closed.
        self._motor_positions = [1 + model.jnt_qposadr[joint] for joint in model.actuator_trnid[:, 0]]
        self._velocities = slice(1 + model.nq, 1 + model.nq + model.nv)
        self._entries = self._columns_of_entries()
        self._units = np.repeat([1.0, STEP_SECONDS], [14, 11])

    def _columns_of_entries(self) -> list[int]:
        """Return the column of each entry of the observation in sensors and physics state, concatenated."""
        numbers = list(range(self.physics.model.nsensordata))
        read = {name: numbers[self.physics.sensor_columns(name)] for name in GRIPPER_AND_OBJECT}
        gripper, gripper_velocity, object_, velocity, angular_velocity = read.values()
        fingers = [len(numbers) + column for column in self._finger_positions]
        finger_velocities = [len(numbers) + column for column in self._finger_velocities]
        to_object, angles = object_, object_  # to be completed
        return [
            *(*gripper, *object_, *to_object, *fingers, *angles),
            *(*velocity, *angular_velocity, *gripper_velocity, *finger_velocities),
        ]

    def at(self, physics: np.ndarray) -> State:
        """Return the state for the physics state `physics` `[E, S]`."""
        return State(physics, self.physics.sense(physics))

    def read(self, state: State, sensor: str) -> np.ndarray:
        """Return the values of one sensor: `[E, N]`."""
        return state.sensors[:, self.physics.sensor_columns(sensor)]

    def step(self, state: State, action: np.ndarray, models: Sequence[mujoco.MjModel] | None = None) -> State:
        """Return the state after one action `[E, 4]` in [-1, 1]: gripper displacement in units of 5 cm, and the fingers.

        The fingers' command is added to their opening in m, and the sum is the target of their motors: 1 opens, -1 closes with
        all force, 0 holds. `models`: one for each episode, if they differ (`Physics.trace`).
        """
        displacement = MAX_DISPLACEMENT * action[:, :3]
        control = np.concatenate(
            [
                state.physics[:, self._motor_positions] + action[:, 3:],
                self.read(state, "hand_position") + displacement,
                self.read(state, "hand_quaternion") + POINTING_DOWN,
            ][1 if self.blocked else 0 :],
            axis=1,
        )
        trace = self.physics.trace(state.physics, control, models)
        physics = trace[:, -1].copy()
        if self.blocked:
            physics[:, self._finger_positions] = 0.0
            return self.at(physics)
        # Unless the fingers were commanded, Fetch reads positions from before the last substep of 2 ms, and velocities with
        # the Jacobians of those positions.
        seen = trace[:, -2].copy()
        seen[:, self._velocities] = physics[:, self._velocities]
        return State(physics, self.physics.sense(seen))

    def observe(self, state: State) -> np.ndarray:
        """Return the 25 entries `[E, 25]`."""
        # Few calls on whole arrays: for a few episodes a call costs more than its computation.
        entries = np.concatenate([state.sensors, state.physics], axis=1)[:, self._entries] * self._units
        entries[:, 6:9] -= entries[:, 0:3]
        entries[:, 11:14] = euler_angles(self.read(state, "object0_quaternion"))
        entries[:, 14:17] -= entries[:, 20:23]
        return entries

    def close(self) -> None:
        """End the physics threads."""
        self.physics.close()


def fetch_spec(name: str) -> mujoco.MjSpec:
    """Return one of Gymnasium-Robotics' Fetch scenes. The package is located, not imported: its code is not needed.

    Raises:
        ResidualRLError: it is not installed.
    """
    package = find_spec("gymnasium_robotics")
    if package is None or package.origin is None:
        raise missing("gymnasium_robotics", *WORLDS)
    return mujoco.MjSpec.from_file(str(Path(package.origin).parent / "envs" / "assets" / "fetch" / name))


def fetch_model(
    spec: mujoco.MjSpec,
    objects: Sequence[str] = ("object0",),
    *,
    self_contacts: Sequence[LinkPair] = WITH_HEAD,
    all_contacts: bool = False,
) -> mujoco.MjModel:
    """Compile a Fetch scene, with sensors for the gripper and for the sites called `objects`.

    Testing the robot's links for contact with one another costs a large part of a step, and in the range of objects and goals
    hardly any of them ever touch. Nor do base and head, which stand still, come near floor or table. So the model lists the
    pairs of geoms that can meet, and MuJoCo need not search. Camera frames and markers, which have neither mass nor contacts,
    are dropped.

    Args:
        spec: the scene.
        objects: sites that the observation shows.
        self_contacts: the robot's links that may touch one another.
        all_contacts: keep the original contacts, as a reference.
    """
    _add_sensors(spec, objects)
    if not all_contacts:
        _drop_frames(spec)
        _list_contact_pairs(spec, self_contacts)
    model = spec.compile()
    weld = model.eq_type == mujoco.mjtEq.mjEQ_WELD
    model.eq_data[weld, :7] = (0, 0, 0, 0, 0, 0, 1)  # the hand is welded onto the mocap body, not beside it
    return model


def _add_sensors(spec: mujoco.MjSpec, objects: Sequence[str]) -> None:
    sensors = [
        ("gripper_position", "FRAMEPOS", "SITE", "robot0:grip"),
        ("gripper_velocity", "FRAMELINVEL", "SITE", "robot0:grip"),
        ("hand_position", "FRAMEPOS", "XBODY", "robot0:gripper_link"),
        ("hand_quaternion", "FRAMEQUAT", "XBODY", "robot0:gripper_link"),
    ]
    for name in objects:
        sensors += [
            (f"{name}_position", "FRAMEPOS", "SITE", name),
            (f"{name}_quaternion", "FRAMEQUAT", "SITE", name),
            (f"{name}_velocity", "FRAMELINVEL", "SITE", name),
            (f"{name}_angular_velocity", "FRAMEANGVEL", "SITE", name),
        ]
    for name, kind, objtype, objname in sensors:
        spec.add_sensor(
            name=name,
            type=getattr(mujoco.mjtSensor, f"mjSENS_{kind}"),
            objtype=getattr(mujoco.mjtObj, f"mjOBJ_{objtype}"),
            objname=objname,
        )


def _drop_frames(spec: mujoco.MjSpec) -> None:
    for geom in list(spec.body("robot0:mocap").geoms):
        spec.delete(geom)
    while frames := [body for body in spec.bodies if body.name.startswith(ROBOT) and _is_bare(body)]:
        spec.delete(frames[0])


def _is_bare(body: mujoco.MjsBody) -> bool:
    return not (body.mocap or body.mass or body.geoms or body.joints or body.sites or body.bodies)


def _list_contact_pairs(spec: mujoco.MjSpec, self_contacts: Sequence[LinkPair]) -> None:
    """Replace the search for colliding geoms by a list of pairs with the contact parameters that MuJoCo would compute."""
    stock = spec.copy().compile()
    geoms = [geom for geom in spec.geoms if geom.contype or geom.conaffinity]
    for number, geom in enumerate(geoms):
        geom.name = geom.name or f"geom{number}"
    colliding = np.flatnonzero(stock.geom_contype | stock.geom_conaffinity).tolist()
    for (first, one), (second, other) in _meeting(list(zip(colliding, geoms, strict=True)), stock, self_contacts):
        sliding, torsional, rolling = np.maximum(stock.geom_friction[first], stock.geom_friction[second])
        spec.add_pair(
            geomname1=one.name,
            geomname2=other.name,
            condim=max(stock.geom_condim[first], stock.geom_condim[second]),
            friction=(sliding, sliding, torsional, rolling, rolling),
            solref=(stock.geom_solref[first] + stock.geom_solref[second]) / 2,
            solimp=(stock.geom_solimp[first] + stock.geom_solimp[second]) / 2,
            margin=margin_of_contact(stock.geom_margin[first], stock.geom_margin[second]),
        )
    for geom in geoms:
        geom.contype = geom.conaffinity = 0


Geom = tuple[int, mujoco.MjsGeom]


def _meeting(geoms: Sequence[Geom], model: mujoco.MjModel, self_contacts: Sequence[LinkPair]) -> Iterator[tuple[Geom, Geom]]:
    """Yield the pairs among `geoms` that can ever touch."""
    excepted = [{BASE, "world"}, *map(set, self_contacts)]  # the base stands on the floor
    for index, one in enumerate(geoms):
        for other in geoms[:index]:
            bodies = [model.body(int(model.geom_bodyid[number])) for number, _ in (one, other)]
            names = {body.name for body in bodies}
            robot = all(body.name.startswith(ROBOT) for body in bodies)
            fixed = all(body.name in FIXED_LINKS or body.weldid[0] == 0 for body in bodies)
            if names in excepted or not (robot or fixed or len(names) == 1):
                yield one, other


def settled_state(model: mujoco.MjModel, placed: Mapping[str, Sequence[float]], extra_height: float = 0.0) -> np.ndarray:
    """Return the physics state `[S]` from which every episode starts: the arm in place, everything at rest.

    Args:
        model: from `fetch_model`.
        placed: free joints and where they are dropped: position in m, quaternion.
        extra_height: m by which the gripper starts higher than with its fingertips on the table.
    """
    data = mujoco.MjData(model)
    for joint, position in (ROBOT_START | dict(placed)).items():
        data.joint(joint).qpos[:] = position
    mujoco.mj_forward(model, data)
    data.mocap_pos[0] = data.site("robot0:grip").xpos + GRIPPER_START + np.array([0.0, 0.0, extra_height])
    data.mocap_quat[0] = POINTING_DOWN
    mujoco.mj_step(model, data, SETTLING_STEPS * SUBSTEPS)
    data.time = 0.0
    state = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS))
    mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    return state


def euler_angles(quaternion: np.ndarray) -> np.ndarray:
    """Return the rotation about x, then the new y, then the new z, in rad: `[B, 4]` (w, x, y, z) -> `[B, 3]`."""
    rows = np.ascontiguousarray(quaternion.T)
    w, x, y, z = rows
    xz, zx = rows[1::2], rows[3::-2]
    numerator = 2 * (w * xz - y * zx)
    sin_y = 2 * (w * y + x * z)
    about_x_z = np.arctan2(numerator, 1 - 2 * (xz * xz + y * y))
    angles = np.empty((len(quaternion), 3))
    angles[:, ::2] = about_x_z.T
    angles[:, 1] = np.arcsin(sin_y.clip(-1.0, 1.0))
    return angles
