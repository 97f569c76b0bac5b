"""Differences between the supported versions of MuJoCo, 3.3 to 4.x: one function for each difference."""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot read.

from typing import Any

import mujoco
import numpy as np

MARGINS_ADD = tuple(map(int, mujoco.__version__.split(".")[:2])) >= (3, 5)


def set_damping(joint: Any, damping: float) -> None:
    """Give a joint of an `MjSpec`, or a default for joints, linear damping in N s/m or N m s/rad.

    Since MuJoCo 3.7 an `MjSpec` holds the coefficients of a polynomial, of which the first is the linear one.
    """
    joint.damping = damping if np.ndim(joint.damping) == 0 else [damping, 0.0, 0.0]


def find_several_contacts(option: Any) -> None:
    """Make MuJoCo find several contact points between faces that lie on each other (`multiccd`).

    A flag switched this on up to MuJoCo 3.7. Later versions do it by default.
    """
    enabling = getattr(mujoco.mjtEnableBit, "mjENBL_MULTICCD", None)
    if enabling is not None:
        option.enableflags |= enabling


def find_one_contact(option: Any) -> None:
    """Make MuJoCo find one contact point between two convex geoms, as it did by default up to 3.7."""
    disabling = getattr(mujoco.mjtDisableBit, "mjDSBL_MULTICCD", None)
    if disabling is not None:
        option.disableflags |= disabling


def margin_of_contact(first: float, second: float) -> float:
    """Return the distance in m at which two geoms with these margins touch: the larger one up to MuJoCo 3.4, then their sum."""
    return first + second if MARGINS_ADD else max(first, second)


def margin_of_each(distance: float) -> float:
    """Return the margin in m of each of two geoms that are to touch at this distance."""
    return distance / 2 if MARGINS_ADD else distance


def set_constants(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Recompute the quantities that MuJoCo derives from masses, inertias and frames, but keep the welds of bodies.

    MuJoCo 4.0 also sets the relative pose of each weld to that at `qpos0`; up to 3.12 it leaves welds alone.

    Args:
        model: changed.
        data: of any model of this structure; its content is lost.
    """
    welds = model.eq_data.copy()
    mujoco.mj_setConst(model, data)
    model.eq_data[:] = welds
