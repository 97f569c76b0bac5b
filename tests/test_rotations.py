"""Rotations of the Fetch worlds are those of SciPy."""

import mujoco
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from residual_rl.tasks.fetch import euler_angles

QUATERNIONS = hnp.arrays(np.float64, (4,), elements=st.floats(-1.0, 1.0))


@given(QUATERNIONS)
def test_euler_angles_are_scipys_intrinsic_xyz(quaternion):
    length = np.linalg.norm(quaternion)
    assume(length > 0.1)
    w, x, y, z = unit = quaternion / length
    assume(abs(2 * (w * y + x * z)) < 1 - 1e-6)  # pitched by 90 degrees, the other two angles are not unique
    expected = Rotation.from_quat(unit, scalar_first=True).as_euler("XYZ")
    difference = euler_angles(unit[None])[0] - expected
    # An angle of 180 degrees may have either sign; arcsin loses half of the digits towards 90.
    np.testing.assert_allclose(np.sin(difference / 2) ** 2, 0.0, atol=1e-16)
    assert np.all(np.cos(difference) > 0.9)


@pytest.mark.parametrize("angles", [(0.3, 0.0, 0.0), (0.0, -0.4, 0.0), (0.0, 0.0, 2.5), (0.3, -0.4, 2.5), (-3.0, 1.5, -0.1)])
def test_euler_angles_turn_about_x_then_the_new_y_then_the_new_z(angles):
    by_axis = []
    for axis, angle in enumerate(angles):
        quaternion = np.zeros(4)
        quaternion[[0, 1 + axis]] = np.cos(angle / 2), np.sin(angle / 2)
        by_axis.append(quaternion)
    turned, both = np.empty(4), np.empty(4)
    mujoco.mju_mulQuat(turned, by_axis[0], by_axis[1])
    mujoco.mju_mulQuat(both, turned, by_axis[2])
    np.testing.assert_allclose(euler_angles(both[None])[0], angles, atol=1e-12)


@given(QUATERNIONS)
def test_a_quaternion_and_its_negative_are_the_same_rotation(quaternion):
    length = np.linalg.norm(quaternion)
    assume(length > 0.1)
    unit = quaternion[None] / length
    assert np.array_equal(euler_angles(unit), euler_angles(-unit))
