"""Creatures, plants and chess pieces."""

from collections.abc import Callable

import numpy as np

from residual_rl.tasks.objects.families import Families, Family
from residual_rl.tasks.objects.shapes import Part, ball, box, capsule, cylinder, ellipsoid, frustum, hull, sphere, turned, wall

# --- creatures and plants ---


def _potted(trunk: float) -> list[Part]:
    return [frustum((0, 0, 0), 0.2, 0.25, 0.28, corners=8), cylinder((0, 0, 0.2), (0, 0, 0.3 + trunk), 0.07)]


def conifer(rng: np.random.Generator) -> list[Part]:
    trunk, wide = rng.uniform((0.1, 0.3), (0.4, 0.5))
    return [
        *_potted(trunk),
        *[frustum((0, 0, 0.25 + trunk + 0.25 * k), wide - 0.09 * k, 0.45, 0.0, corners=9) for k in range(3)],
    ]


def tree(rng: np.random.Generator) -> list[Part]:
    trunk = rng.uniform(0.3, 0.5)
    crowns = [(*rng.uniform(-0.2, 0.2, 2), 0.5 + trunk + rng.uniform(-0.1, 0.2)) for _ in range(4)]
    return [*_potted(trunk), *[ellipsoid(crown, rng.uniform(0.4, 0.7, 3)) for crown in crowns]]


def mushroom(rng: np.random.Generator) -> list[Part]:
    stem, cap = rng.uniform((0.3, 0.35), (0.6, 0.5))
    dome = hull([(cap * x, cap * y, stem + 0.8 * cap * z) for x, y, z in ball(80) if z > -0.02])
    return [frustum((0, 0, 0), 0.2, stem, 0.12), dome]


def figure(rng: np.random.Generator) -> list[Part]:
    leg, body, width, lift = rng.uniform((0.3, 0.35, 0.25, -0.3), (0.5, 0.5, 0.45, 0.4))
    shoulder, head = leg + 0.9 * body, rng.uniform(0.14, 0.24)
    limbs = [capsule((0, i * 0.3 * width, 0.06), (0, i * 0.3 * width, leg), 0.08) for i in (-1, 1)]
    limbs += [capsule((0, i * width / 2, shoulder), (0.15, i * (width / 2 + 0.2), shoulder + lift), 0.06) for i in (-1, 1)]
    feet = [box((0.04, i * 0.3 * width, 0.03), (0.26, 0.17, 0.06)) for i in (-1, 1)]
    torso = ellipsoid((0, 0, leg + body / 2), (0.26, 1.1 * width, body + 0.1))
    return turned([*feet, *limbs, torso, sphere((0, 0, leg + body + 0.8 * head), head)], rng.uniform(0, 360))


def quadruped(rng: np.random.Generator) -> list[Part]:
    leg, long, fat, neck = rng.uniform((0.15, 0.5, 0.25, 0.05), (0.45, 0.8, 0.4, 0.6))
    feet = [(i * 0.36 * long, j * 0.3 * fat, 0.05) for i in (-1, 1) for j in (-1, 1)]
    chest, head = np.array([0.4 * long, 0, leg + 0.6 * fat]), np.array([0.5 * long + 0.1, 0, leg + fat + neck])
    tail = capsule((-0.5 * long, 0, leg + 0.7 * fat), (-0.5 * long - 0.2, 0, leg + rng.uniform(0.3, 1.2) * fat), 0.04)
    body = [ellipsoid((0, 0, leg + fat / 2), (1.1 * long, fat, fat)), capsule(chest, head, 0.08)]
    muzzle = ellipsoid(head + np.array([0.06, 0, 0]), (0.34, 0.2, 0.2))
    return turned(
        [*[capsule(foot, foot + np.array([0, 0, leg]), 0.06) for foot in feet], *body, muzzle, tail], rng.uniform(0, 360)
    )


def turtle(rng: np.random.Generator) -> list[Part]:
    long, wide, high = rng.uniform((0.4, 0.35, 0.25), (0.5, 0.45, 0.4))
    shell = hull([(long * x, wide * y, 0.1 + high * z) for x, y, z in ball(100) if z > 0])
    feet = [ellipsoid((i * 0.35, j * 0.35, 0.08), (0.3, 0.25, 0.16), turn=(0, 0, i * j * 40)) for i in (-1, 1) for j in (-1, 1)]
    return turned([shell, *feet, capsule((0.8 * long, 0, 0.18), (long + 0.15, 0, 0.28), 0.1)], rng.uniform(0, 360))


def fish(rng: np.random.Generator) -> list[Part]:
    fat, high = rng.uniform((0.2, 0.35), (0.35, 0.6))
    tail = hull(
        [(-0.4, 0.02 * i, 0.5 * high) for i in (-1, 1)]
        + [(-0.75, 0.02 * i, 0.5 * high + 0.3 * j) for i in (-1, 1) for j in (-1, 1)]
    )
    fins = [ellipsoid((0.1, i * 0.5 * fat, 0.4 * high), (0.25, 0.2, 0.05), turn=(i * -30, 0, 0)) for i in (-1, 1)]
    return turned([ellipsoid((0, 0, high / 2), (1.0, fat, high)), tail, *fins], rng.uniform(0, 360))


# --- chess ---


def _piece(top: Callable[[], list[Part]]) -> Family:
    def family(rng: np.random.Generator) -> list[Part]:
        waist = rng.uniform(0.14, 0.2)
        foot = [cylinder((0, 0, 0), (0, 0, 0.12), 0.3), frustum((0, 0, 0.1), 0.26, 0.55, waist)]
        return [*foot, cylinder((0, 0, 0.62), (0, 0, 0.69), 0.24), *top()]

    return family


CHESS = {
    "king": _piece(
        lambda: [
            frustum((0, 0, 0.68), 0.14, 0.3, 0.22),
            box((0, 0, 1.09), (0.08, 0.08, 0.24)),
            box((0, 0, 1.11), (0.08, 0.22, 0.08)),
        ]
    ),
    "queen": _piece(lambda: [frustum((0, 0, 0.68), 0.12, 0.3, 0.26, corners=8), sphere((0, 0, 1.02), 0.1)]),
    "bishop": _piece(lambda: [ellipsoid((0, 0, 0.86), (0.36, 0.36, 0.46)), sphere((0, 0, 1.1), 0.07)]),
    "rook": _piece(
        lambda: [cylinder((0, 0, 0.68), (0, 0, 0.82), 0.26), *wall((0, 0, 0.8), 0.26, 0.18, 0.26, 0.1, segments=9)[::2]]
    ),
}


FAMILIES: Families = {
    "conifer": (conifer, 2),
    "tree": (tree, 3),
    "mushroom": (mushroom, 2),
    "figure": (figure, 3),
    "quadruped": (quadruped, 4),
    "turtle": (turtle, 1),
    "fish": (fish, 2),
}
FAMILIES |= {name: (family, 1) for name, family in CHESS.items()}
