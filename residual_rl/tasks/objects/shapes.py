"""Rigid shapes of convex parts, from which ComplexHook's objects are built.

The largest side of a shape is 1, for any unit of its parts; a scene scales it to m.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot see into.

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy  # loads its submodules on first use

Vector = Sequence[float] | np.ndarray
UPRIGHT = (1.0, 0.0, 0.0, 0.0)


class Part(NamedTuple):
    """One convex part."""

    kind: str
    """"box", "sphere", "capsule", "cylinder", "ellipsoid", as in MuJoCo, or "hull" of `points`."""
    size: tuple[float, ...]
    """Half-sizes, or radius and half-length, as in MuJoCo's geoms; empty for a hull."""
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    quaternion: tuple[float, float, float, float] = UPRIGHT
    points: tuple[tuple[float, float, float], ...] = ()
    """Points of a hull."""


class Shape(NamedTuple):
    """A body of convex parts with largest side 1, centred over the origin, with its lowest point at z = 0."""

    name: str
    parts: tuple[Part, ...]
    sides: tuple[float, float, float]
    """Sides of the bounding box."""
    volume: float
    """Sum over all parts; overlaps count twice."""


# --- parts, in full sizes ---


def box(center: Vector, sides: Vector, *, turn: Vector = (0.0, 0.0, 0.0)) -> Part:
    """Return a box, rotated about the fixed x, y and z axes by degrees."""
    return Part(
        "box",
        _tuple(0.5 * np.asarray(sides)),
        _tuple(center),
        _quaternion(scipy.spatial.transform.Rotation.from_euler("xyz", turn, degrees=True)),
    )


def sphere(center: Vector, radius: float) -> Part:
    """Return a ball."""
    return Part("sphere", (float(radius),), _tuple(center))


def ellipsoid(center: Vector, sides: Vector, *, turn: Vector = (0.0, 0.0, 0.0)) -> Part:
    """Return an ellipsoid with a bounding box of these sides."""
    return box(center, sides, turn=turn)._replace(kind="ellipsoid")


def cylinder(start: Vector, end: Vector, radius: float) -> Part:
    """Return a cylinder, given the centres of its ends."""
    return _along("cylinder", start, end, radius)


def capsule(start: Vector, end: Vector, radius: float) -> Part:
    """Return a cylinder with round ends, given the centres of the two half balls."""
    return _along("capsule", start, end, radius)


def hull(points: Any) -> Part:
    """Return the convex hull of points `[N, 3]`, without interior points."""
    points = np.asarray(points, dtype=float)
    return Part("hull", (), points=tuple(_tuple(point) for point in points[np.sort(scipy.spatial.ConvexHull(points).vertices)]))


def frustum(
    bottom: Vector,
    radius: float,
    height: float,
    top_radius: float,
    *,
    corners: int | np.integer = 12,
    stretch: float = 1.0,
    turn: float = 0.0,
) -> Part:
    """Return a prism, pyramid or frustum on a regular polygon, stretched along y, then rotated by degrees about z."""
    angle = 2 * np.pi * (np.arange(corners) + 0.5) / corners
    ring = np.column_stack([np.cos(angle), stretch * np.sin(angle), np.zeros(corners)])
    ring = ring @ scipy.spatial.transform.Rotation.from_euler("z", turn, degrees=True).as_matrix().T
    top = top_radius * ring + (0.0, 0.0, height) if top_radius > 0 else [(0.0, 0.0, height)]
    return hull(np.concatenate([radius * ring, top]) + np.asarray(bottom))


def wall(
    bottom: Vector, radius: float, height: float, top_radius: float, thickness: float, *, segments: int | np.integer = 6
) -> list[Part]:
    """Return an open ring of slabs, the side of a bowl or a tube, with outer radii at bottom and top."""
    parts = []
    for start in np.arange(segments):
        angle = 2 * np.pi * (start + np.array([0.5, 1.5])) / segments
        edge = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(2)])
        rings = [(radius, 0.0), (radius - thickness, 0.0), (top_radius, height), (top_radius - thickness, height)]
        parts.append(hull(np.concatenate([r * edge + (0.0, 0.0, z) for r, z in rings]) + np.asarray(bottom)))
    return parts


def legs(number: int | np.integer, radius: float, height: float, thickness: float, *, splay: float = 1.0) -> list[Part]:
    """Return cylinders on a circle, with feet further out by the factor `splay`."""
    angle = 2 * np.pi * (np.arange(number) + 0.5) / number
    feet = radius * np.column_stack([np.cos(angle), np.sin(angle), np.zeros(number)])
    return [cylinder(splay * foot, foot + np.array([0.0, 0.0, height]), thickness) for foot in feet]


def ball(number: int) -> np.ndarray:
    """Return evenly spread points on the unit sphere: `[number, 3]`."""
    index = np.arange(number) + 0.5
    polar, azimuth = np.arccos(1 - 2 * index / number), np.pi * (1 + 5**0.5) * index
    return np.column_stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)])


def turned(parts: Sequence[Part], degrees: float) -> list[Part]:
    """Return the parts rotated about z."""
    rotation = scipy.spatial.transform.Rotation.from_euler("z", degrees, degrees=True)
    return [
        part._replace(
            position=_tuple(rotation.apply(part.position)),
            quaternion=_quaternion(rotation * scipy.spatial.transform.Rotation.from_quat(part.quaternion, scalar_first=True)),
            points=part.points,
        )
        for part in parts
    ]


def _along(kind: str, start: Vector, end: Vector, radius: float) -> Part:
    start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    length = np.linalg.norm(end - start)
    rotation = scipy.spatial.transform.Rotation.align_vectors([(end - start) / length], [(0.0, 0.0, 1.0)])[0]
    return Part(kind, (float(radius), float(length / 2)), _tuple((start + end) / 2), _quaternion(rotation))


def _tuple(vector: Vector) -> Any:
    return tuple(float(entry) for entry in vector)


def _quaternion(rotation: Any) -> Any:
    return _tuple(rotation.as_quat(canonical=True, scalar_first=True))


# --- bodies ---


def bounds(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest coordinates of a part, each `[3]`."""
    axes = scipy.spatial.transform.Rotation.from_quat(part.quaternion, scalar_first=True).as_matrix()
    if part.kind == "hull":
        points = np.asarray(part.points) @ axes.T + part.position
        return points.min(axis=0), points.max(axis=0)
    if part.kind in ("sphere", "capsule"):
        half = np.full(3, part.size[0]) + (np.abs(axes[:, 2]) * part.size[1] if part.kind == "capsule" else 0.0)
    elif part.kind == "cylinder":
        half = np.hypot(axes[:, 0], axes[:, 1]) * part.size[0] + np.abs(axes[:, 2]) * part.size[1]
    elif part.kind == "ellipsoid":
        half = np.linalg.norm(axes * part.size, axis=1)
    else:
        half = np.abs(axes) @ part.size
    return part.position - half, part.position + half


def volume(part: Part) -> float:
    """Return the volume of a part."""
    if part.kind == "hull":
        return float(scipy.spatial.ConvexHull(np.asarray(part.points)).volume)
    if part.kind == "box":
        return 8.0 * float(np.prod(part.size))
    if part.kind == "ellipsoid":
        return 4 / 3 * np.pi * float(np.prod(part.size))
    radius = part.size[0]
    ball = 4 / 3 * np.pi * radius**3
    rod = 2 * np.pi * radius**2 * part.size[-1]
    return {"sphere": ball, "cylinder": rod, "capsule": ball + rod}[part.kind]


def scaled(part: Part, scale: float, shift: Vector = (0.0, 0.0, 0.0)) -> Part:
    """Return a part that is first shifted, then scaled about the origin."""
    return part._replace(
        size=tuple(scale * size for size in part.size),
        position=_tuple(scale * (np.asarray(part.position) + shift)),
        points=tuple(_tuple(scale * np.asarray(point)) for point in part.points),
    )


def normalized(name: str, parts: Sequence[Part]) -> Shape:
    """Return the shape of these parts: largest side 1, bounding box centred over the origin, standing on z = 0."""
    low, high = (np.array(limits) for limits in zip(*map(bounds, parts), strict=True))
    low, high = low.min(axis=0), high.max(axis=0)
    sides = high - low
    scale = 1.0 / sides.max()
    shift = -np.array([*(0.5 * (low + high)[:2]), low[2]])
    standing = tuple(scaled(part, scale, shift) for part in parts)
    return Shape(name, standing, _tuple(scale * sides), sum(map(volume, standing)))


def add_parts(spec: Any, body: Any, parts: Sequence[Part], *, density: float, **settings: Any) -> None:
    """Add one geom for each part to a body of an `MjSpec`; `settings` are further attributes of the geoms."""
    import mujoco  # shapes are drawn without it

    for index, part in enumerate(parts):
        geom = body.add_geom(pos=part.position, quat=part.quaternion, density=density, **settings)
        if part.kind == "hull":
            mesh = spec.add_mesh(name=f"{body.name}:part{index}", uservert=np.ravel(part.points))
            geom.type, geom.meshname = mujoco.mjtGeom.mjGEOM_MESH, mesh.name
        else:
            geom.type = getattr(mujoco.mjtGeom, f"mjGEOM_{part.kind.upper()}")
            geom.size[: len(part.size)] = part.size
