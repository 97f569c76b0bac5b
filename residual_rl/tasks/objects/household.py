"""Vessels, furniture and small buildings."""

from itertools import pairwise

import numpy as np

from residual_rl.tasks.objects.families import Families
from residual_rl.tasks.objects.shapes import Part, box, capsule, cylinder, frustum, hull, legs, turned, wall

# --- vessels ---


def bowl(rng: np.random.Generator) -> list[Part]:
    foot, height, n = rng.uniform(0.35, 0.6), rng.uniform(0.5, 0.9), rng.integers(6, 10)
    return [frustum((0, 0, 0), foot, 0.12, foot, corners=n), *wall((0, 0, 0), foot, height, 1.0, 0.14, segments=n)]


def cup(rng: np.random.Generator) -> list[Part]:
    foot, height, n = rng.uniform(0.6, 0.9), rng.uniform(1.4, 2.2), rng.integers(5, 9)
    return [frustum((0, 0, 0), foot, 0.12, foot, corners=n), *wall((0, 0, 0), foot, height, 0.95, 0.13, segments=n)]


def mug(rng: np.random.Generator) -> list[Part]:
    height, reach = rng.uniform(1.5, 2.2), rng.uniform(1.35, 1.6)
    low, high = 0.25 * height, 0.8 * height
    path = [(0.75, 0, low), (reach, 0, low), (reach, 0, high), (0.75, 0, high)]
    handle = [capsule(start, end, 0.1) for start, end in pairwise(path)]
    can = [frustum((0, 0, 0), 0.9, 0.12, 0.9, corners=6), *wall((0, 0, 0), 0.9, height, 0.95, 0.13, segments=6)]
    return turned([*can, *handle], rng.uniform(0, 360))


def tube(rng: np.random.Generator) -> list[Part]:
    height, top, thickness = rng.uniform((0.4, 0.8, 0.15), (1.8, 1.0, 0.4))
    return wall((0, 0, 0), 1.0, height, top, thickness, segments=rng.integers(6, 10))


def tray(rng: np.random.Generator) -> list[Part]:
    x, y, z = rng.uniform((0.7, 0.7, 0.35), (1.0, 1.0, 0.8))
    t = 0.07
    ends = [box((i * (x - t) / 2, 0, z / 2), (t, y, z)) for i in (-1, 1)]
    sides = [box((0, i * (y - t) / 2, z / 2), (x, t, z)) for i in (-1, 1)]
    return turned([box((0, 0, t / 2), (x, y, t)), *ends, *sides], rng.uniform(0, 90))


def bottle(rng: np.random.Generator) -> list[Part]:
    radius, body, neck = rng.uniform((0.18, 0.4, 0.15), (0.3, 0.7, 0.3))
    parts = [cylinder((0, 0, 0), (0, 0, body), radius), frustum((0, 0, body), radius, 0.2, 0.08)]
    return [*parts, cylinder((0, 0, body + 0.18), (0, 0, body + 0.2 + neck), 0.08)]


def vase(rng: np.random.Generator) -> list[Part]:
    radii, heights = rng.uniform(0.2, 0.5, 5), np.cumsum([0.0, *rng.uniform(0.2, 0.4, 4)])
    rings = zip(heights, np.diff(heights), radii, radii[1:], strict=False)
    return [frustum((0, 0, z), radius, height, top, corners=14) for z, height, radius, top in rings]


def trophy(rng: np.random.Generator) -> list[Part]:
    stem, size = rng.uniform((0.15, 0.3), (0.35, 0.5))
    foot = [cylinder((0, 0, 0), (0, 0, 0.12), 0.28), cylinder((0, 0, 0.1), (0, 0, 0.15 + stem), 0.06)]
    handles = [capsule((0, i * 0.5 * size, 0.3 + stem), (0, i * (size + 0.2), 0.5 + stem), 0.06) for i in (-1, 1)]
    return turned([*foot, frustum((0, 0, 0.1 + stem), 0.15, 0.55, size), *handles], rng.uniform(0, 180))


# --- furniture and buildings ---


def chair(rng: np.random.Generator) -> list[Part]:
    seat, back, width = rng.uniform((0.4, 0.5, 0.5), (0.6, 0.8, 0.7))
    parts = [box((0, 0, seat), (width, width, 0.08)), box((-0.46 * width, 0, seat + back / 2), (0.08, width, back))]
    return turned(parts + legs(4, 0.6 * width, seat, 0.05), rng.uniform(0, 360))


def stool(rng: np.random.Generator) -> list[Part]:
    height, radius = rng.uniform(0.5, 1.0), rng.uniform(0.3, 0.45)
    return [
        cylinder((0, 0, height), (0, 0, height + 0.1), radius),
        *legs(rng.integers(3, 6), 0.75 * radius, height, 0.06, splay=1.3),
    ]


def table(rng: np.random.Generator) -> list[Part]:
    height, y = rng.uniform(0.45, 0.8), rng.uniform(0.6, 1.0)
    feet = [box((i * 0.44, j * (y / 2 - 0.06), height / 2), (0.1, 0.1, height)) for i in (-1, 1) for j in (-1, 1)]
    return turned([box((0, 0, height), (1.0, y, 0.08)), *feet], rng.uniform(0, 180))


def round_table(rng: np.random.Generator) -> list[Part]:
    height = rng.uniform(0.45, 0.8)
    foot = [frustum((0, 0, 0), 0.3, 0.12, 0.1), cylinder((0, 0, 0), (0, 0, height), 0.08)]
    return [*foot, cylinder((0, 0, height), (0, 0, height + 0.08), 0.5)]


def lamp(rng: np.random.Generator) -> list[Part]:
    pole, shade = rng.uniform((0.3, 0.2), (0.6, 0.4))
    foot = [cylinder((0, 0, 0), (0, 0, 0.06), 0.25), cylinder((0, 0, 0), (0, 0, pole + 0.1), 0.04)]
    return [*foot, frustum((0, 0, pole), shade, 0.35, 0.5 * shade)]


def house(rng: np.random.Generator) -> list[Part]:
    x, y, z, roof = rng.uniform((0.6, 0.5, 0.4, 0.2), (1.0, 0.8, 0.7, 0.5))
    eaves = [(i * 0.55 * x, j * 0.55 * y, z) for i in (-1, 1) for j in (-1, 1)]
    gable = [(i * 0.55 * x, 0, z + roof) for i in (-1, 1)]
    parts = [
        box((0, 0, z / 2), (x, y, z)),
        hull(eaves + gable),
        box((0.25 * x, 0.15 * y, z + 0.6 * roof), (0.12, 0.12, 0.8 * roof)),
    ]
    return turned(parts, rng.uniform(0, 180))


def stairs(rng: np.random.Generator) -> list[Part]:
    n, y = rng.integers(3, 6), rng.uniform(0.4, 0.9)
    return turned([box((k + 0.5, 0, (k + 1) / 2), (1, y * n, k + 1)) for k in range(n)], rng.uniform(0, 360))


def bridge(rng: np.random.Generator) -> list[Part]:
    height, y = rng.uniform(0.3, 0.6), rng.uniform(0.25, 0.6)
    piers = [
        hull(
            [(i * 0.5, j * y / 2, 0) for j in (-1, 1)]
            + [(i * x, j * y / 2, z) for j in (-1, 1) for x, z in ((0.28, 0), (0.18, height), (0.5, height))]
        )
        for i in (-1, 1)
    ]
    return turned([*piers, box((0, 0, height + 0.1), (1.0, y, 0.2))], rng.uniform(0, 180))


FAMILIES: Families = {
    "bowl": (bowl, 4),
    "cup": (cup, 3),
    "mug": (mug, 3),
    "tube": (tube, 3),
    "tray": (tray, 3),
    "bottle": (bottle, 3),
    "vase": (vase, 3),
    "trophy": (trophy, 1),
    "chair": (chair, 3),
    "stool": (stool, 2),
    "table": (table, 2),
    "round table": (round_table, 1),
    "lamp": (lamp, 2),
    "house": (house, 2),
    "stairs": (stairs, 2),
    "bridge": (bridge, 1),
}
