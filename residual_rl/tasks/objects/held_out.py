"""Twenty held-out kinds of objects, for testing."""

from itertools import pairwise

import numpy as np

from residual_rl.tasks.objects.families import Families
from residual_rl.tasks.objects.shapes import (
    Part,
    ball,
    box,
    capsule,
    cylinder,
    ellipsoid,
    frustum,
    hull,
    sphere,
    turned,
    wall,
)

SIDES = (-1, 1)


def pawn(rng: np.random.Generator) -> list[Part]:
    return [cylinder((0, 0, 0), (0, 0, 0.12), 0.3), frustum((0, 0, 0.1), 0.25, 0.4, 0.12), sphere((0, 0, 0.64), 0.19)]


def knight(rng: np.random.Generator) -> list[Part]:
    neck = [(x, i * 0.1, z) for i in SIDES for x, z in ((-0.2, 0.12), (0.2, 0.12), (0.12, 0.8), (-0.12, 0.8))]
    head = [(x, i * 0.08, z) for i in SIDES for x, z in ((-0.12, 0.85), (-0.02, 0.95), (0.4, 0.68), (0.34, 0.55), (-0.1, 0.65))]
    return turned([cylinder((0, 0, 0), (0, 0, 0.14), 0.3), hull(neck), hull(head)], 30)


def elephant(rng: np.random.Generator) -> list[Part]:
    legs = [cylinder((i * 0.26, j * 0.15, 0), (i * 0.26, j * 0.15, 0.4), 0.1) for i in SIDES for j in SIDES]
    trunk = [capsule((0.72, 0, 0.55), (0.82, 0, 0.3), 0.07), capsule((0.82, 0, 0.3), (0.95, 0, 0.2), 0.06)]
    ears = [ellipsoid((0.48, i * 0.21, 0.65), (0.3, 0.08, 0.36), turn=(0, 0, i * 25)) for i in SIDES]
    return turned([*legs, ellipsoid((0, 0, 0.52), (1.0, 0.55, 0.5)), sphere((0.58, 0, 0.65), 0.21), *trunk, *ears], 150)


def teddy_bear(rng: np.random.Generator) -> list[Part]:
    legs = [ellipsoid((0.22, i * 0.2, 0.1), (0.5, 0.2, 0.2), turn=(0, 0, i * 15)) for i in SIDES]
    arms = [ellipsoid((0.12, i * 0.3, 0.45), (0.36, 0.16, 0.16), turn=(0, 25, i * 25)) for i in SIDES]
    head = [sphere((0.03, 0, 0.76), 0.24), sphere((0.24, 0, 0.7), 0.1), *[sphere((0, i * 0.2, 0.96), 0.09) for i in SIDES]]
    return turned([*legs, *arms, ellipsoid((0, 0, 0.32), (0.44, 0.5, 0.62)), *head], -60)


def soda_can(rng: np.random.Generator) -> list[Part]:
    return [
        frustum((0, 0, 0), 0.27, 0.1, 0.33, corners=16),
        cylinder((0, 0, 0.08), (0, 0, 1.0), 0.33),
        frustum((0, 0, 1.0), 0.33, 0.12, 0.26, corners=16),
    ]


def sailing_boat(rng: np.random.Generator) -> list[Part]:
    deck = [(-0.4, 0.16, 0.16), (-0.4, -0.16, 0.16), (0.15, 0.18, 0.16), (0.15, -0.18, 0.16), (0.55, 0, 0.22)]
    sail = hull([(0.03, i * 0.02, z) for i in SIDES for z in (0.3, 0.95)] + [(-0.4, i * 0.02, 0.32) for i in SIDES])
    return turned([hull([*deck, (-0.3, 0, 0), (0.2, 0, 0)]), cylinder((0.05, 0, 0.1), (0.05, 0, 1.0), 0.03), sail], 70)


def cupcake(rng: np.random.Generator) -> list[Part]:
    cream = [ellipsoid((0, 0, 0.5), (1.0, 1.0, 0.4)), ellipsoid((0, 0, 0.68), (0.7, 0.7, 0.34)), sphere((0, 0, 0.88), 0.12)]
    return [frustum((0, 0, 0), 0.32, 0.5, 0.46, corners=16), *cream]


def octagonal_prism(rng: np.random.Generator) -> list[Part]:
    return [frustum((0, 0, 0), 1.0, 1.3, 1.0, corners=8)]


def puffer_fish(rng: np.random.Generator) -> list[Part]:
    spikes = [cylinder(0.7 * point, 1.3 * point, 0.07) for point in ball(8)]
    tail = hull([(x, i * 0.04, z) for i in SIDES for x, z in ((0.8, 0), (1.4, 0.3), (1.4, -0.3))])
    return turned([sphere((0, 0, 0), 1.0), tail, *spikes], 200)


def paper_cup(rng: np.random.Generator) -> list[Part]:
    side = wall((0, 0, 0.05), 0.36, 0.9, 0.5, 0.07, segments=8)
    return [frustum((0, 0, 0), 0.36, 0.1, 0.36, corners=8), *side]


def die(rng: np.random.Generator) -> list[Part]:
    corners = [(i, j, k) for i in SIDES for j in SIDES for k in SIDES]
    cut = [np.where(np.arange(3) == axis, 1.0, 0.75) * corner for corner in corners for axis in range(3)]
    return turned([hull(cut)], 20)


def aeroplane(rng: np.random.Generator) -> list[Part]:
    wings = [
        hull([(x, i * y, z) for z in (0.1, 0.16) for x, y in ((0.15, 0), (-0.15, 0), (-0.2, 0.5), (-0.05, 0.5))]) for i in SIDES
    ]
    tail = [box((-0.42, 0, 0.18), (0.14, 0.36, 0.05)), box((-0.43, 0, 0.3), (0.14, 0.05, 0.24))]
    return turned([capsule((-0.42, 0, 0.14), (0.42, 0, 0.14), 0.1), *wings, *tail], 40)


def snowman(rng: np.random.Generator) -> list[Part]:
    body = [sphere((0, 0, 0.36), 0.36), sphere((0, 0, 0.82), 0.26), sphere((0, 0, 1.16), 0.18)]
    hat = [cylinder((0, 0, 1.28), (0, 0, 1.33), 0.22), cylinder((0, 0, 1.3), (0, 0, 1.5), 0.14)]
    nose = hull([*[(0.12, 0.05 * np.cos(a), 1.16 + 0.05 * np.sin(a)) for a in (0, 2, 4)], (0.36, 0, 1.14)])
    return turned([*body, *hat, nose], -20)


def hourglass(rng: np.random.Generator) -> list[Part]:
    plates = [cylinder((0, 0, z), (0, 0, z + 0.08), 0.4) for z in (0, 1.0)]
    posts = [
        cylinder((0.33 * np.cos(a), 0.33 * np.sin(a), 0), (0.33 * np.cos(a), 0.33 * np.sin(a), 1.0), 0.03)
        for a in (0.3, 2.4, 4.5)
    ]
    return [*plates, frustum((0, 0, 0.05), 0.28, 0.5, 0.05), frustum((0, 0, 0.53), 0.05, 0.5, 0.28), *posts]


def teapot(rng: np.random.Generator) -> list[Part]:
    spout = capsule((0.35, 0, 0.25), (0.68, 0, 0.55), 0.07)
    path = [(-0.38, 0, 0.55), (-0.68, 0, 0.55), (-0.68, 0, 0.3), (-0.42, 0, 0.22)]
    handle = [capsule(start, end, 0.05) for start, end in pairwise(path)]
    lid = [cylinder((0, 0, 0.62), (0, 0, 0.7), 0.22), sphere((0, 0, 0.74), 0.07)]
    return turned(
        [ellipsoid((0, 0, 0.36), (0.95, 0.95, 0.7)), cylinder((0, 0, 0), (0, 0, 0.1), 0.25), *lid, spout, *handle], 100
    )


def grid(rng: np.random.Generator) -> list[Part]:
    bars = [box((i * 0.25, 0, 0.12), (0.14, 1.0, 0.24)) for i in SIDES] + [
        box((0, i * 0.25, 0.12), (1.0, 0.14, 0.24)) for i in SIDES
    ]
    return turned(bars, 15)


def cactus(rng: np.random.Generator) -> list[Part]:
    arms = [capsule((0, 0, 0.5), (0, 0.3, 0.5), 0.08), capsule((0, 0.3, 0.5), (0, 0.3, 0.75), 0.08)]
    arms += [capsule((0, 0, 0.65), (0, -0.28, 0.65), 0.07), capsule((0, -0.28, 0.65), (0, -0.28, 0.85), 0.07)]
    return turned([frustum((0, 0, 0), 0.2, 0.25, 0.28), capsule((0, 0, 0.2), (0, 0, 0.95), 0.12), *arms], 65)


def crown(rng: np.random.Generator) -> list[Part]:
    angles = 2 * np.pi * (np.arange(5) + 0.5) / 5
    points = [frustum((0.44 * np.cos(a), 0.44 * np.sin(a), 0), 0.14, 0.6, 0.02, corners=4) for a in angles]
    return [*wall((0, 0, 0), 0.48, 0.3, 0.5, 0.07, segments=5), *points]


def rocket(rng: np.random.Generator) -> list[Part]:
    fins = [
        turned([hull([(r, i * 0.02, z) for i in SIDES for r, z in ((0.15, 0.1), (0.15, 0.45), (0.42, 0.0))])], a)[0]
        for a in (0, 90, 180, 270)
    ]
    nose = ellipsoid((0, 0, 0.9), (0.4, 0.4, 0.7))
    return turned([cylinder((0, 0, 0.1), (0, 0, 0.9), 0.2), nose, frustum((0, 0, 0), 0.18, 0.12, 0.12), *fins], 25)


def robot_toy(rng: np.random.Generator) -> list[Part]:
    legs = [box((0, i * 0.16, 0.15), (0.22, 0.2, 0.3)) for i in SIDES]
    arms = [box((0.05, i * 0.35, 0.55), (0.3, 0.12, 0.14), turn=(0, 20, 0)) for i in SIDES]
    head = [box((0, 0, 0.96), (0.3, 0.36, 0.28)), cylinder((0, 0, 1.1), (0, 0, 1.25), 0.02), sphere((0, 0, 1.27), 0.05)]
    return turned([*legs, *arms, box((0, 0, 0.56), (0.3, 0.6, 0.55)), *head], -35)


FAMILIES: Families = {
    "pawn": (pawn, 1),
    "knight": (knight, 1),
    "elephant": (elephant, 1),
    "teddy bear": (teddy_bear, 1),
    "soda can": (soda_can, 1),
    "sailing boat": (sailing_boat, 1),
    "cupcake": (cupcake, 1),
    "octagonal prism": (octagonal_prism, 1),
    "puffer fish": (puffer_fish, 1),
    "paper cup": (paper_cup, 1),
    "die": (die, 1),
    "aeroplane": (aeroplane, 1),
    "snowman": (snowman, 1),
    "hourglass": (hourglass, 1),
    "teapot": (teapot, 1),
    "grid": (grid, 1),
    "cactus": (cactus, 1),
    "crown": (crown, 1),
    "rocket": (rocket, 1),
    "robot toy": (robot_toy, 1),
}
