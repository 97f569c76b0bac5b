"""Draws ComplexHook's objects into `docs/figures/objects.png`: those to train with, then those kept for testing.

MUJOCO_GL=egl python studies/objects.py                    (or osmesa)
MUJOCO_GL=egl python studies/objects.py meshes out.png     a folder of meshes of one's own, and where to draw them
"""

import argparse
import colorsys
from pathlib import Path

import mujoco
import numpy as np

from residual_rl.pictures.video import png
from residual_rl.tasks.objects import held_out_shapes, shapes_in, training_shapes
from residual_rl.tasks.objects.shapes import add_parts

COLUMNS = 20
SIDE = 80  # pixels of an object's picture
HUES = 8


def picture(shape, hue: float) -> np.ndarray:
    """One object `[SIDE, SIDE, 3]`."""
    spec = mujoco.MjSpec()
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = (0.5, 0.5, 0.5), (0.35, 0.35, 0.35)
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        rgb1=(1, 1, 1),
        rgb2=(1, 1, 1),
        width=8,
        height=48,
    )
    spec.worldbody.add_light(pos=(1, -1, 3), dir=(-0.35, 0.35, -1), diffuse=(0.45, 0.45, 0.45), castshadow=False)
    add_parts(spec, spec.worldbody.add_body(name="object"), shape.parts, density=1.0)
    for geom in spec.body("object").geoms:
        geom.rgba = (*colorsys.hsv_to_rgb(hue, 0.5, 0.9), 1.0)
    model = spec.compile()
    model.vis.quality.offsamples = 8
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    camera = mujoco.MjvCamera()
    camera.lookat[:] = (0, 0, shape.sides[2] / 2)
    camera.distance, camera.azimuth, camera.elevation = 1.95, 125, -32
    with mujoco.Renderer(model, SIDE, SIDE) as renderer:
        renderer.update_scene(data, camera)
        return renderer.render()


def sheet(shapes) -> np.ndarray:
    """All of them, row by row."""
    pictures = [picture(shape, 3 * index % HUES / HUES) for index, shape in enumerate(shapes)]
    pictures += [np.full((SIDE, SIDE, 3), 255, np.uint8)] * (-len(pictures) % COLUMNS)
    rows = [np.concatenate(pictures[start : start + COLUMNS], axis=1) for start in range(0, len(pictures), COLUMNS)]
    return np.concatenate(rows)


def main() -> None:
    """Draws the generated objects, or those of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshes", nargs="?", type=Path, help="a folder")
    parser.add_argument("out", nargs="?", type=Path, help="a .png file")
    meshes, out = vars(parser.parse_args()).values()
    if meshes and not out:
        parser.error("say where to draw them, too")
    if meshes:
        image = sheet(shapes_in(meshes))
    else:
        out = Path(__file__).parent.parent / "docs" / "figures" / "objects.png"
        between = np.full((SIDE // 4, COLUMNS * SIDE, 3), 255, np.uint8)
        image = np.concatenate([sheet(training_shapes()), between, sheet(held_out_shapes())])
    out.write_bytes(png(image))
    print(out)


if __name__ == "__main__":
    main()
