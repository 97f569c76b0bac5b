"""Kinematics of the arm, a UR5, for a batch of poses: its tool always points straight down.

Source: the UR5's published Denavit-Hartenberg parameters. The base stands at the origin and is turned by 180 degrees, so that
the workspace lies along x.
"""

import numpy as np

OFFSETS = (0.089159, 0.0, 0.0, 0.10915, 0.09465, 0.0823)
"""m, along each joint's axis."""
LENGTHS = (0.0, -0.425, -0.39225, 0.0, 0.0, 0.0)
"""m, of the links."""
TWISTS = (np.pi / 2, 0.0, 0.0, np.pi / 2, -np.pi / 2, 0.0)
"""rad, between the axes of neighbouring joints."""
TOOL = 0.2695
"""m from the flange to the tool's point."""
START = np.array([-2.7569, -1.0896, -1.8057, -1.8186, 1.5689, 3.2652])
"""rad: right shoulder, elbow up, wrist forward."""
DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
"""The tool's axes, as columns, in the world: the fingers close along y."""
DAMPING = 2e-5
TOLERANCE = 2e-4
"""m and rad, of a solution."""
WAYPOINTS = 12
REACH = 0.79
"""m, from shoulder to wrist; both links are 0.817 long together."""
LARGEST_JUMP = 0.2
"""rad: a solution that is farther from the present joints counts as none."""


def tool_pose(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the tool's point `[E, 3]`, its axes `[E, 3, 3]`, and the Jacobian `[E, 6, 6]` for joints `[E, 6]`."""
    lanes = len(joints)
    rotation = np.broadcast_to(np.diag([-1.0, -1.0, 1.0]), (lanes, 3, 3))
    point = np.zeros((lanes, 3))
    axes, points = [], []
    for joint in range(6):
        axes.append(rotation[:, :, 2])
        points.append(point)
        cosine, sine = np.cos(joints[:, joint]), np.sin(joints[:, joint])
        zero, one = np.zeros(lanes), np.ones(lanes)
        turn = np.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, one], axis=1).reshape(lanes, 3, 3)
        twist_cosine, twist_sine = np.cos(TWISTS[joint]), np.sin(TWISTS[joint])
        twist = np.array([[1.0, 0.0, 0.0], [0.0, twist_cosine, -twist_sine], [0.0, twist_sine, twist_cosine]])
        turned = rotation @ turn
        point = point + turned @ np.array([LENGTHS[joint], 0.0, OFFSETS[joint]])
        rotation = turned @ twist
    point = point + TOOL * rotation[:, :, 2]
    linear = [np.cross(axis, point - at) for axis, at in zip(axes, points, strict=True)]
    jacobian = np.concatenate([np.stack(linear, axis=2), np.stack(axes, axis=2)], axis=1)
    return point, rotation, jacobian


def joints_at(
    point: np.ndarray, near: np.ndarray, iterations: int = 4, largest_jump: float = LARGEST_JUMP
) -> tuple[np.ndarray, np.ndarray]:
    """Return joints `[E, 6]` whose tool is at `point` `[E, 3]` and points down, by damped least squares from `near` `[E, 6]`.

    Returns:
        The joints, and whether they were found nearby `[E]` bool; where not, the joints are `near`.
    """
    joints = near.copy()
    for _ in range(iterations):
        error, jacobian = _error(point, joints)
        transposed = jacobian.transpose(0, 2, 1)
        square = jacobian @ transposed + DAMPING * np.eye(6)
        joints = joints + (transposed @ np.linalg.solve(square, error[:, :, None]))[:, :, 0]
    left = np.abs(_error(point, joints)[0]).max(axis=1)
    found = (left < TOLERANCE) & (np.abs(joints - near).max(axis=1) < largest_jump)
    return np.where(found[:, None], joints, near), found


def joints_from_start(point: np.ndarray) -> np.ndarray:
    """Return joints `[E, 6]` for a tool at `point` `[E, 3]` within reach, found on the way there from the arm's start."""
    joints = np.repeat(START[None], len(point), axis=0)
    begin = tool_pose(joints)[0]
    for share in np.linspace(0.1, 1.0, WAYPOINTS):
        joints, _ = joints_at(begin + share * (point - begin), joints, iterations=8, largest_jump=np.inf)
    return joints


def reaches(point: np.ndarray) -> bool:
    """Return whether the arm reaches a point `[3]` with its tool pointing down."""
    along = np.sqrt(max(0.0, point[0] ** 2 + point[1] ** 2 - OFFSETS[3] ** 2))
    up = point[2] + TOOL + OFFSETS[5] - OFFSETS[0]
    return bool(np.hypot(along, up) < REACH)


def _error(point: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what is left to move in m and to turn in rad `[E, 6]`, and the Jacobian `[E, 6, 6]`."""
    at, axes, jacobian = tool_pose(joints)
    turn = 0.5 * np.cross(axes, DOWN, axisa=1, axisb=0, axisc=1).sum(axis=2)
    return np.concatenate([point - at, turn], axis=1), jacobian
