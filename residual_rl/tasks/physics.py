"""Batched MuJoCo: many copies of one model stepped in one call, on MuJoCo's own threads."""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot see into.

import copy
from collections.abc import Sequence

import mujoco
import numpy as np
from mujoco import rollout

from residual_rl.processes import usable_cores

Flag = mujoco.mjtDisableBit

CONTROL = mujoco.mjtState.mjSTATE_CTRL | mujoco.mjtState.mjSTATE_MOCAP_POS | mujoco.mjtState.mjSTATE_MOCAP_QUAT

KINEMATICS_ONLY = (
    Flag.mjDSBL_CONSTRAINT
    | Flag.mjDSBL_CONTACT
    | Flag.mjDSBL_SPRING
    | Flag.mjDSBL_DAMPER
    | Flag.mjDSBL_GRAVITY
    | Flag.mjDSBL_ACTUATION
    | Flag.mjDSBL_EULERDAMP
)


class Physics:
    """Steps a batch of states of one model, or of one model each.

    Holds no state of the world: what goes in determines what comes out, whatever the batch or the number of threads.
    The solver starts cold at each call, because a warm start would tie an episode to its lane's past.

    A state is MuJoCo's full physics state (time, qpos, qvel, ...), `[B, S]` float64.
    """

    def __init__(self, model: mujoco.MjModel, substeps: int, num_threads: int | None = None):
        self.model = model
        self.substeps = substeps
        self.num_threads = num_threads or usable_cores()
        self.state_size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        self.control_size = mujoco.mj_stateSize(model, CONTROL)

        # Sensors are read once a step, by `sense`; computing them in every substep would be waste.
        self.stepper = copy.copy(model)
        self.stepper.opt.disableflags |= Flag.mjDSBL_SENSOR
        # Reading positions and velocities needs neither contacts nor forces: a third of a substep's cost, and then waking other
        # threads costs more than they save.
        self._reader = copy.copy(model)
        self._reader.opt.disableflags |= KINEMATICS_ONLY
        self._threads = rollout.Rollout(nthread=self.num_threads if self.num_threads > 1 else 0)
        self._this_thread = rollout.Rollout(nthread=0)
        self._step_data = [mujoco.MjData(self.stepper) for _ in range(self.num_threads)]
        self._read_data = [mujoco.MjData(self._reader)]
        self._states = np.empty((0, 0, self.state_size))
        sensors = [model.sensor(number) for number in range(model.nsensor)]
        self._sensor_columns = {
            sensor.name: slice(int(sensor.adr[0]), int(sensor.adr[0] + sensor.dim[0])) for sensor in sensors
        }

    def step(self, state: np.ndarray, control: np.ndarray) -> np.ndarray:
        """The states `[B, S]` after `substeps` time steps under one `control` `[B, C]`: motors, mocap position, quaternion.

        A state that MuJoCo could not integrate is NaN throughout.
        """
        return self.trace(state, control)[:, -1].copy()

    def trace(self, state: np.ndarray, control: np.ndarray, models: Sequence[mujoco.MjModel] | None = None) -> np.ndarray:
        """Return the states `[B, substeps, S]` after each time step on the way of `step`; models and lifetime as in `play`."""
        states = self.play(state, np.repeat(control[:, None], self.substeps, axis=1), models)
        # MuJoCo resets a state that blows up to the model's own and goes on. Its clock gives that away.
        elapsed = states[:, -1, 0] - state[:, 0] - self.substeps * self.model.opt.timestep
        blown_up = ~(np.abs(elapsed) < 0.5 * self.model.opt.timestep)
        if blown_up.any():
            states[blown_up] = np.nan
        return states

    def play(self, state: np.ndarray, controls: np.ndarray, models: Sequence[mujoco.MjModel] | None = None) -> np.ndarray:
        """The states `[B, N, S]` after each of `N` time steps, each under a control of its own `[B, N, C]`. All of it in C.

        The next call overwrites what this one returned: fresh memory would take longer than all else around the steps.

        Args:
            state: `[B, S]`.
            controls: `[B, N, C]`.
            models: one for each state, of this model's structure, for states that differ in more than where things are;
                None steps all with the same.
        """
        if self._states.shape[:2] != controls.shape[:2]:
            self._states = np.empty((*controls.shape[:2], self.state_size))
        self._threads.rollout(
            [self.stepper] * len(state) if models is None else list(models),
            self._step_data,
            np.ascontiguousarray(state),
            np.ascontiguousarray(controls),
            control_spec=int(CONTROL),
            state=self._states,
            nstep=controls.shape[1],
            skip_checks=True,  # they would look at each model in Python
            chunk_size=1,  # a step waits for its slowest thread
        )
        return self._states

    def sense(self, state: np.ndarray) -> np.ndarray:
        """Return what the model's sensors read at `state`: `[B, sensors]`. Position and velocity sensors only."""
        sensed = np.empty((len(state), self.model.nsensordata))
        self._this_thread.rollout(
            [self._reader] * len(state),
            self._read_data,
            np.ascontiguousarray(state),
            sensordata=sensed[:, None],
            nstep=1,
            skip_checks=True,
        )
        sound = np.isfinite(state).all(axis=1)
        if not sound.all():
            sensed[~sound] = np.nan
        return sensed

    def sensor_columns(self, name: str) -> slice:
        """Return where the sensor called `name` lies in what `sense` returns."""
        return self._sensor_columns[name]

    def close(self) -> None:
        """Ends the threads."""
        self._threads.close()
        self._this_thread.close()


def state_columns(model: mujoco.MjModel, joint: str) -> tuple[slice, slice]:
    """Return where position and velocity of a joint lie in a full physics state `[S]`."""
    size = {mujoco.mjtJoint.mjJNT_FREE: (7, 6), mujoco.mjtJoint.mjJNT_BALL: (4, 3)}
    index = model.joint(joint).id
    nq, nv = size.get(mujoco.mjtJoint(model.jnt_type[index]), (1, 1))
    position = 1 + int(model.jnt_qposadr[index])  # entry 0 is the time
    velocity = 1 + model.nq + int(model.jnt_dofadr[index])
    return slice(position, position + nq), slice(velocity, velocity + nv)
