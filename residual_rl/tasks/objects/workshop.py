"""Brackets, gears, tools, letters and vehicles."""

import numpy as np

from residual_rl.tasks.objects.families import Families, Family
from residual_rl.tasks.objects.shapes import Part, box, capsule, cylinder, hull, turned

# --- parts and tools ---


def bracket(rng: np.random.Generator) -> list[Part]:
    x, z, y, t = rng.uniform((0.6, 0.5, 0.25, 0.1), (1.0, 1.0, 0.6, 0.2))
    rib = hull([(i * 0.7 * x, j * t / 2, k * 0.7 * z) for i, k in ((0, 0), (1, 0), (0, 1)) for j in (-1, 1)])
    return turned([box((x / 2, 0, t / 2), (x, y, t)), box((t / 2, 0, z / 2), (t, y, z)), rib], rng.uniform(0, 360))


def channel(rng: np.random.Generator) -> list[Part]:
    x, y, z, t = rng.uniform((0.6, 0.3, 0.4, 0.1), (1.0, 0.6, 0.9, 0.2))
    sides = [box((i * (x - t) / 2, 0, z / 2), (t, y, z)) for i in (-1, 1)]
    return turned([box((0, 0, t / 2), (x, y, t)), *sides], rng.uniform(0, 360))


def jack(rng: np.random.Generator) -> list[Part]:
    arms, radius = rng.uniform(0.6, 1.0, 3), rng.uniform(0.1, 0.2)
    return turned([capsule(-arm, arm, radius) for arm in np.diag(arms)], rng.uniform(0, 90))


def dumbbell(rng: np.random.Generator) -> list[Part]:
    end, bar = rng.uniform((0.2, 0.5), (0.35, 0.8))
    parts = [
        capsule((-bar, 0, 0), (bar, 0, 0), 0.1),
        *[cylinder((i * bar, 0, 0), (i * (bar + 0.3), 0, 0), end) for i in (-1, 1)],
    ]
    return turned(parts, rng.uniform(0, 180))


def star(rng: np.random.Generator) -> list[Part]:
    n, height, inner = rng.integers(4, 8), rng.uniform(0.3, 0.8), rng.uniform(0.3, 0.5)
    tips = [[(inner, -np.pi / n), (1.0, 0.0), (inner, np.pi / n), (0.0, 0.0)] for _ in range(n)]
    flat = [
        [(r * np.cos(a + 2 * np.pi * k / n), r * np.sin(a + 2 * np.pi * k / n)) for r, a in tip] for k, tip in enumerate(tips)
    ]
    return [hull([(x, y, z) for x, y in tip for z in (0, height)]) for tip in flat]


def gear(rng: np.random.Generator) -> list[Part]:
    teeth, height = rng.integers(6, 10), rng.uniform(0.3, 0.8)
    angles = 360 * np.arange(teeth) / teeth
    return [
        cylinder((0, 0, 0), (0, 0, height), 0.75),
        *[turned([box((0.8, 0, height / 2), (0.4, 0.25, height))], a)[0] for a in angles],
    ]


def cross(rng: np.random.Generator) -> list[Part]:
    x, y, z, t = rng.uniform((0.6, 0.6, 0.2, 0.2), (1.0, 1.0, 0.8, 0.4))
    return turned([box((0, 0, z / 2), (x, t, z)), box((0, 0, z / 2), (t, y, z))], rng.uniform(0, 90))


def hammer(rng: np.random.Generator) -> list[Part]:
    grip, head = rng.uniform((0.7, 0.3), (1.0, 0.5))
    parts = [capsule((0, 0, 0.1), (grip, 0, 0.1), 0.06), box((grip, 0, 0.1), (0.2, head, 0.2))]
    return turned([*parts, cylinder((grip, head / 2, 0.1), (grip, head / 2 + 0.12, 0.1), 0.13)], rng.uniform(0, 360))


STROKES = {  # (x, y) to (x, y) on a grid two wide and four high
    "A": [(0, 0, 1, 4), (1, 4, 2, 0), (0.5, 1.5, 1.5, 1.5)],
    "E": [(0, 0, 0, 4), (0, 0, 2, 0), (0, 2, 1.6, 2), (0, 4, 2, 4)],
    "H": [(0, 0, 0, 4), (2, 0, 2, 4), (0, 2, 2, 2)],
    "K": [(0, 0, 0, 4), (0, 2, 2, 4), (0, 2, 2, 0)],
    "N": [(0, 0, 0, 4), (0, 4, 2, 0), (2, 0, 2, 4)],
    "T": [(1, 0, 1, 4), (0, 4, 2, 4)],
    "Y": [(1, 0, 1, 2), (1, 2, 0, 4), (1, 2, 2, 4)],
    "Z": [(0, 4, 2, 4), (2, 4, 0, 0), (0, 0, 2, 0)],
}


def _letter(letter: str) -> Family:
    def family(rng: np.random.Generator) -> list[Part]:
        depth, thick = rng.uniform(0.8, 2.2), rng.uniform(0.5, 0.8)
        parts = []
        for x, y, u, v in STROKES[letter]:
            length, angle = np.hypot(u - x, v - y), np.rad2deg(np.arctan2(v - y, u - x))
            parts.append(box(((x + u) / 2, (y + v) / 2, 0), (length + thick, thick, depth), turn=(0, 0, angle)))
        return turned(parts, rng.uniform(0, 360))

    return family


# --- vehicles ---


def car(rng: np.random.Generator) -> list[Part]:
    y, z, cabin = rng.uniform((0.4, 0.15, 0.35), (0.55, 0.25, 0.55))
    wheels = [
        cylinder((i * 0.32, j * 0.5 * y, 0.13), (i * 0.32, j * (0.5 * y + 0.08), 0.13), 0.13) for i in (-1, 1) for j in (-1, 1)
    ]
    roof = [
        (i * 0.5 * cabin * (1.0 if k == 0 else 0.7), j * 0.45 * y, 0.1 + z + 0.22 * k)
        for i in (-1, 1)
        for j in (-1, 1)
        for k in (0, 1)
    ]
    return turned([box((0, 0, 0.12 + z / 2), (1.0, y, z)), hull(roof), *wheels], rng.uniform(0, 360))


def boat(rng: np.random.Generator) -> list[Part]:
    y, z = rng.uniform((0.3, 0.18), (0.5, 0.3))
    deck = [(-0.5, 0.4 * y, z), (-0.5, -0.4 * y, z), (0.2, 0.5 * y, z), (0.2, -0.5 * y, z), (0.6, 0, 1.2 * z)]
    keel = [(-0.4, 0.25 * y, 0), (-0.4, -0.25 * y, 0), (0.35, 0, 0)]
    parts = [
        hull(deck + keel),
        box((-0.2, 0, z + 0.12), (0.4, 0.6 * y, 0.24)),
        cylinder((-0.2, 0, z), (-0.2, 0, z + 0.5), 0.06),
    ]
    return turned(parts, rng.uniform(0, 360))


FAMILIES: Families = {
    "bracket": (bracket, 3),
    "channel": (channel, 2),
    "jack": (jack, 1),
    "dumbbell": (dumbbell, 2),
    "star": (star, 2),
    "gear": (gear, 2),
    "cross": (cross, 1),
    "hammer": (hammer, 1),
    "car": (car, 2),
    "boat": (boat, 2),
}
FAMILIES |= {f"letter {letter}": (_letter(letter), 1) for letter in STROKES}
