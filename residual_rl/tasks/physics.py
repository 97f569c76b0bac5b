"""Batched MuJoCo: step many states in one call, on MuJoCo's own threads."""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot read.

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
    """Step a batch of states of one model, or of one model each.

    It has no state: the arguments determine the result, for any batch and any number of threads. The solver starts cold at each
    call, because a warm start would make an episode depend on the previous one in its lane.

    A state is MuJoCo's full physics state (time, qpos, qvel, ...), `[B, S]` float64.

    Args:
        model: of all states.
        substeps: time steps of `step`.
        num_threads: physics threads; None for one on each core.
        feels: whether `step_and_feel` will be used: sensors, also those of touch and force, are then computed in every time
            step.
        control: the parts of MuJoCo's state of which a control consists, in its order: bits of `mjtState`.
    """

    def __init__(
        self, model: mujoco.MjModel, substeps: int, num_threads: int | None = None, feels: bool = False, control: int = CONTROL
    ):
        self.model = model
        self.substeps = substeps
        self.num_threads = num_threads or usable_cores()
        self.state_size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        self.control = int(control)
        self.control_size = mujoco.mj_stateSize(model, self.control)

        # Sensors are read once per step, by `sense`, not computed in every substep.
        self.stepper = copy.copy(model)
        if not feels:
            self.stepper.opt.disableflags |= Flag.mjDSBL_SENSOR
        # Reading positions and velocities needs neither contacts nor forces. It costs a third of a substep, so waking other
        # threads would cost more than it saves.
        self._reader = copy.copy(model)
        self._reader.opt.disableflags |= KINEMATICS_ONLY
        self._threads = rollout.Rollout(nthread=self.num_threads if self.num_threads > 1 else 0)
        self._this_thread = rollout.Rollout(nthread=0)
        self._step_data = [mujoco.MjData(self.stepper) for _ in range(self.num_threads)]
        self._read_data = [mujoco.MjData(self._reader)]
        self._states = np.empty((0, 0, self.state_size))
        self._felt = np.empty((0, 0, model.nsensordata)) if feels else None
        sensors = [model.sensor(number) for number in range(model.nsensor)]
        self._sensor_columns = {
            sensor.name: slice(int(sensor.adr[0]), int(sensor.adr[0] + sensor.dim[0])) for sensor in sensors
        }

    def step(self, state: np.ndarray, control: np.ndarray) -> np.ndarray:
        """Return the states `[B, S]` after `substeps` time steps with one `control` `[B, C]`: motors, mocap pose.

        A state that MuJoCo could not integrate is NaN throughout.
        """
        return self.trace(state, control)[:, -1].copy()

    def step_and_feel(self, state: np.ndarray, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the states of `step`, and the values of all sensors `[B, sensors]` as of the beginning of its last time step.

        The values of a state that MuJoCo could not integrate are NaN too.
        """
        after = self.step(state, control)
        assert self._felt is not None
        felt = self._felt[:, -1].copy()
        felt[np.isnan(after[:, 0])] = np.nan
        return after, felt

    def feel(self, state: np.ndarray, control: np.ndarray) -> np.ndarray:
        """Return the values of all sensors `[B, sensors]` at a state with this control."""
        self.play(state, control[:, None])
        assert self._felt is not None
        return self._felt[:, 0].copy()

    def trace(self, state: np.ndarray, control: np.ndarray, models: Sequence[mujoco.MjModel] | None = None) -> np.ndarray:
        """Return the states `[B, substeps, S]` after each time step of `step`; models and lifetime as in `play`."""
        states = self.play(state, np.repeat(control[:, None], self.substeps, axis=1), models)
        # MuJoCo resets a state that diverges to the model's own and continues; the reset of its clock shows it.
        elapsed = states[:, -1, 0] - state[:, 0] - self.substeps * self.model.opt.timestep
        blown_up = ~(np.abs(elapsed) < 0.5 * self.model.opt.timestep)
        if blown_up.any():
            states[blown_up] = np.nan
        return states

    def play(self, state: np.ndarray, controls: np.ndarray, models: Sequence[mujoco.MjModel] | None = None) -> np.ndarray:
        """Return the states `[B, N, S]` after each of `N` time steps with its own control `[B, N, C]`, computed in C.

        The next call overwrites the returned array: new memory would cost more than everything else around the steps.

        Args:
            state: `[B, S]`.
            controls: `[B, N, C]`.
            models: one for each state, of this model's structure, if the states belong to different models; None uses this
                model for all.
        """
        if self._states.shape[:2] != controls.shape[:2]:
            self._states = np.empty((*controls.shape[:2], self.state_size))
            if self._felt is not None:
                self._felt = np.empty((*controls.shape[:2], self.model.nsensordata))
        self._threads.rollout(
            [self.stepper] * len(state) if models is None else list(models),
            self._step_data,
            np.ascontiguousarray(state),
            np.ascontiguousarray(controls),
            control_spec=self.control,
            state=self._states,
            sensordata=self._felt,
            nstep=controls.shape[1],
            skip_checks=True,  # they would iterate over the models in Python
            chunk_size=1,  # a step waits for its slowest thread
        )
        return self._states

    def sense(self, state: np.ndarray) -> np.ndarray:
        """Return the values of the model's sensors at `state`: `[B, sensors]`. Position and velocity sensors only."""
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
        """Return the columns of the sensor called `name` in the result of `sense`."""
        return self._sensor_columns[name]

    def close(self) -> None:
        """End the threads."""
        self._threads.close()
        self._this_thread.close()


def state_columns(model: mujoco.MjModel, joint: str) -> tuple[slice, slice]:
    """Return the columns of a joint's position and velocity in a full physics state `[S]`."""
    size = {mujoco.mjtJoint.mjJNT_FREE: (7, 6), mujoco.mjtJoint.mjJNT_BALL: (4, 3)}
    index = model.joint(joint).id
    nq, nv = size.get(mujoco.mjtJoint(model.jnt_type[index]), (1, 1))
    position = 1 + int(model.jnt_qposadr[index])  # entry 0 is the time
    velocity = 1 + model.nq + int(model.jnt_dofadr[index])
    return slice(position, position + nq), slice(velocity, velocity + nv)
