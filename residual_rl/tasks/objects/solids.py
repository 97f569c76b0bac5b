"""Convex objects: balls, blocks, prisms, pyramids, rocks."""

import numpy as np

from residual_rl.tasks.objects.families import Families, Family
from residual_rl.tasks.objects.shapes import Part, ball, box, capsule, cylinder, ellipsoid, frustum, hull, sphere, turned


def block(rng: np.random.Generator) -> list[Part]:
    return [box((0, 0, 0), rng.uniform(0.3, 1.0, 3), turn=(0, 0, rng.uniform(0, 90)))]


def drum(rng: np.random.Generator) -> list[Part]:
    return [cylinder((0, 0, 0), (0, 0, rng.uniform(0.3, 1.3)), rng.uniform(0.3, 0.5))]


def rod(rng: np.random.Generator) -> list[Part]:
    x, y = rng.uniform(-1.0, 1.0, 2)
    return [cylinder((0, 0, 0), (x, y, 0), rng.uniform(0.15, 0.4))]


def pill(rng: np.random.Generator) -> list[Part]:
    return [capsule((0, 0, 0), rng.uniform((-1, -1, 0), (1, 1, 1)), rng.uniform(0.2, 0.5))]


def egg(rng: np.random.Generator) -> list[Part]:
    return [ellipsoid((0, 0, 0), rng.uniform(0.4, 1.0, 3), turn=(0, 0, rng.uniform(0, 180)))]


def globe(rng: np.random.Generator) -> list[Part]:
    return [sphere((0, 0, 0), 1.0)]


def dome(rng: np.random.Generator) -> list[Part]:
    return [hull([point for point in ball(70) if point[2] > -0.05])]


def _prism(corners: int) -> Family:
    def family(rng: np.random.Generator) -> list[Part]:
        return [frustum((0, 0, 0), 1.0, rng.uniform(0.6, 2.2), 1.0, corners=corners, turn=rng.uniform(0, 360))]

    return family


def pyramid(rng: np.random.Generator) -> list[Part]:
    return [frustum((0, 0, 0), 1.0, rng.uniform(0.7, 1.8), 0.0, corners=rng.integers(3, 10), stretch=rng.uniform(0.7, 1.0))]


def stump(rng: np.random.Generator) -> list[Part]:
    radius, height, top = rng.uniform((0.5, 0.6, 0.3), (1.0, 1.6, 1.1))
    return [frustum((0, 0, 0), radius, height, top, corners=rng.integers(4, 13))]


def octahedron(rng: np.random.Generator) -> list[Part]:
    return [hull([*np.eye(3), *-np.eye(3)])]


def icosahedron(rng: np.random.Generator) -> list[Part]:
    return [hull(_rectangles(1.0, GOLDEN))]


def dodecahedron(rng: np.random.Generator) -> list[Part]:
    cube = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    return [hull(cube + _rectangles(1 / GOLDEN, GOLDEN))]


GOLDEN = (1 + 5**0.5) / 2


def _rectangles(a: float, b: float) -> list:
    """Return the corners of three crossed rectangles."""
    return [np.roll((0.0, i * a, j * b), k) for k in range(3) for i in (-1, 1) for j in (-1, 1)]


def rock(rng: np.random.Generator) -> list[Part]:
    points = rng.normal(size=(rng.integers(12, 26), 3))
    return [hull(points / np.linalg.norm(points, axis=1, keepdims=True) * rng.uniform(0.6, 1.0, 3))]


def wedge(rng: np.random.Generator) -> list[Part]:
    x, y, z = rng.uniform(0.5, 1.0, 3)
    return turned(
        [hull([(i * x, j, k * z) for j in (0, y) for i, k in ((0, 0), (1, 0), (0, 1), (0.3, 1))])], rng.uniform(0, 360)
    )


FAMILIES: Families = {
    "block": (block, 6),
    "drum": (drum, 4),
    "rod": (rod, 2),
    "pill": (pill, 3),
    "egg": (egg, 4),
    "globe": (globe, 1),
    "dome": (dome, 1),
    "pyramid": (pyramid, 4),
    "stump": (stump, 3),
    "octahedron": (octahedron, 1),
    "icosahedron": (icosahedron, 1),
    "dodecahedron": (dodecahedron, 1),
    "rock": (rock, 8),
    "wedge": (wedge, 2),
}
FAMILIES |= {f"prism of {corners} sides": (_prism(corners), 1) for corners in (3, 5, 6, 7, 9, 11)}
