"""The 1:10 car: a single-track model with slip, all cars at once.

A car's state is a column of an array `[7, E]`, in the order of CommonRoad's single-track model:

| row | what | |
|---|---|---|
| 0, 1 | position of the centre of gravity | m |
| 2 | steering angle | rad, positive to the left |
| 3 | speed | m/s, never backwards |
| 4 | yaw | rad |
| 5 | yaw rate | rad/s |
| 6 | slip angle, from where the car points to where it goes | rad |

Source: Althoff, Koschi and Manzinger 2017 (CommonRoad: vehicle models, sections on the kinematic and the dynamic single-track
model), with the parameters that the racing community publishes for its 1:10 car. Stiffnesses, height, inertia, axles and
steering are the same in its first simulator, f1tenth/f1tenth_simulator, which weighed 3.47 kg and says that the stiffnesses are
estimates, and in f1tenth/f1tenth_gym, f110_env.py, which has 3.74 kg, a friction of 1.0489 and 9.51 m/s^2.

Differs: an axle's side force ends at friction times load. CommonRoad's grows with the slip angle without end, so that a car
would corner with more than its friction allows.
"""

from dataclasses import dataclass

import numpy as np

GRAVITY = 9.81  # m/s^2
X, Y, STEERING, SPEED, YAW, YAW_RATE, SLIP = range(7)
SUBSTEP = 0.01  # s
SUBSTEPS = 2  # for each action: control at 50 Hz
STEP_SECONDS = SUBSTEP * SUBSTEPS
KINEMATIC_BELOW = 0.5  # m/s, where slip angles would be divided by next to nothing
SPEED_GAIN = 10.0  # 1/s, acceleration for each m/s that the commanded speed is missed by


@dataclass(frozen=True)
class Car:
    """The numbers of the car."""

    mass: float = 3.47
    """kg"""
    inertia: float = 0.047
    """kg m^2 about the vertical."""
    front: float = 0.159
    """m from the centre of gravity to the front axle."""
    rear: float = 0.171
    """m from the centre of gravity to the rear axle."""
    height: float = 0.074
    """m of the centre of gravity: what braking shifts load to the front with."""
    friction: float = 0.8
    front_stiffness: float = 4.718
    """1/rad, side force for each unit of friction times load and each rad of slip."""
    rear_stiffness: float = 5.4562
    """1/rad"""
    largest_steering: float = 0.4189
    """rad"""
    steering_rate: float = 3.2
    """rad/s"""
    largest_acceleration: float = 7.51
    """m/s^2, also of braking."""
    switching_speed: float = 7.319
    """m/s, above which the motor's power limits the acceleration."""
    top_speed: float = 8.0
    """m/s"""
    length: float = 0.58
    """m"""
    width: float = 0.31
    """m"""

    @property
    def wheelbase(self) -> float:
        """Between the axles, in m."""
        return self.front + self.rear


CAR = Car()


def drive(car: Car, state: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Return the state `[7, E]` one action later, 0.02 s.

    Args:
        car: its numbers.
        state: `[7, E]`
        action: `[E, 2]` in [-1, 1]: the steering angle to go to, as a share of the largest; and the speed to go to, from
            standstill at -1 to the top speed at 1.
    """
    steering = action[:, 0] * car.largest_steering
    speed = (action[:, 1] + 1.0) * (0.5 * car.top_speed)
    for _ in range(SUBSTEPS):
        state = _substep(car, state, *controls(car, state, steering, speed))
    return state


def controls(car: Car, state: np.ndarray, steering: np.ndarray, speed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return steering rate `[E]` rad/s and acceleration `[E]` m/s^2 for the next 10 ms.

    They are on the way to a steering angle `[E]` rad and a speed `[E]` m/s.
    """
    now = state[SPEED]
    rate = ((steering - state[STEERING]) / SUBSTEP).clip(-car.steering_rate, car.steering_rate)
    motor = car.largest_acceleration * np.minimum(1.0, car.switching_speed / np.maximum(now, 1e-3))
    wanted = SPEED_GAIN * (speed - now)
    return rate, np.minimum(np.maximum(wanted, -car.largest_acceleration), motor)


def rolling(car: Car, steering: np.ndarray, speed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return yaw rate `[E]` rad/s and slip angle `[E]` rad of a car whose wheels do not slip."""
    tangent = np.tan(steering)
    slip = np.arctan(car.rear / car.wheelbase * tangent)
    return speed * np.cos(slip) * tangent / car.wheelbase, slip


def _substep(car: Car, state: np.ndarray, rate: np.ndarray, acceleration: np.ndarray) -> np.ndarray:
    """10 ms of the classical Runge-Kutta method."""
    slow = state[SPEED] < KINEMATIC_BELOW
    if not slow.any():
        return _runge_kutta(car, state, rate, acceleration, rolls=False)
    after = _runge_kutta(car, state, rate, acceleration, rolls=False)
    after[:, slow] = _runge_kutta(car, state[:, slow], rate[slow], acceleration[slow], rolls=True)
    return after


def _runge_kutta(car: Car, state: np.ndarray, rate: np.ndarray, acceleration: np.ndarray, rolls: bool) -> np.ndarray:
    change = _rolling_change if rolls else _slipping_change
    first = change(car, state, rate, acceleration)
    second = change(car, state + (SUBSTEP / 2) * first, rate, acceleration)
    third = change(car, state + (SUBSTEP / 2) * second, rate, acceleration)
    fourth = change(car, state + SUBSTEP * third, rate, acceleration)
    second += third
    second *= 2.0
    second += first
    second += fourth
    second *= SUBSTEP / 6
    after = state + second
    after[STEERING] = after[STEERING].clip(-car.largest_steering, car.largest_steering)
    after[SPEED] = np.maximum(after[SPEED], 0.0)
    if rolls:
        after[YAW_RATE], after[SLIP] = rolling(car, after[STEERING], after[SPEED])
    return after


def _slipping_change(car: Car, state: np.ndarray, rate: np.ndarray, acceleration: np.ndarray) -> np.ndarray:
    """Time derivative `[7, E]` of a state."""
    speed = np.maximum(state[SPEED], KINEMATIC_BELOW / 2)  # slow cars are done again by `_rolling_change`
    turn = state[YAW_RATE] / speed
    slip = state[SLIP]
    course = state[YAW] + slip
    shift = (car.height / GRAVITY) * acceleration
    grip = car.mass * GRAVITY * car.friction / car.wheelbase
    front_angle = state[STEERING] - slip - car.front * turn
    rear_angle = car.rear * turn - slip
    front = (car.rear - shift) * grip * (car.front_stiffness * front_angle).clip(-1.0, 1.0)
    rear = (car.front + shift) * grip * (car.rear_stiffness * rear_angle).clip(-1.0, 1.0)
    change = np.empty_like(state)
    np.multiply(state[SPEED], np.cos(course), out=change[X])
    np.multiply(state[SPEED], np.sin(course), out=change[Y])
    change[STEERING] = rate
    change[SPEED] = acceleration
    change[YAW] = state[YAW_RATE]
    change[YAW_RATE] = (car.front * front - car.rear * rear) / car.inertia
    change[SLIP] = (front + rear) / (car.mass * speed) - state[YAW_RATE]
    return change


def _rolling_change(car: Car, state: np.ndarray, rate: np.ndarray, acceleration: np.ndarray) -> np.ndarray:
    """Time derivative `[7, E]` of a state without slip of the wheels; yaw rate and slip angle follow from the others."""
    yaw_rate, slip = rolling(car, state[STEERING], state[SPEED])
    course = state[YAW] + slip
    change = np.zeros_like(state)
    change[X], change[Y] = state[SPEED] * np.cos(course), state[SPEED] * np.sin(course)
    change[STEERING], change[SPEED], change[YAW] = rate, acceleration, yaw_rate
    return change
