"""ComplexHook's objects have the stated sizes and positions, and are connected."""

import itertools

import mujoco
import numpy as np
import pytest

from residual_rl.errors import ResidualRLError
from residual_rl.tasks import objects
from residual_rl.tasks.objects import MAX_PARTS, families, held_out_shapes, meshes, shapes_in, solids, training_shapes
from residual_rl.tasks.objects.shapes import add_parts, box, hull, normalized, sphere

ALL = {shape.name: shape for shape in training_shapes() + held_out_shapes()}
PLANES = {  # where a plane stands, and the axis about which it is turned to face the body
    "bottom": ((0, 0, -5), (1, 0, 0, 0)),
    "top": ((0, 0, 5), (0, 1, 0, 0)),
    "left": ((-5, 0, 0), (1, 0, 1, 0)),
    "right": ((5, 0, 0), (1, 0, -1, 0)),
    "front": ((0, -5, 0), (1, -1, 0, 0)),
    "back": ((0, 5, 0), (1, 1, 0, 0)),
}


def compiled(shape):
    """MuJoCo's own idea of a shape, with planes around it."""
    spec = mujoco.MjSpec()
    body = spec.worldbody.add_body(name="object")
    body.add_freejoint()
    add_parts(spec, body, shape.parts, density=1.0)
    for name, (position, quaternion) in PLANES.items():
        spec.worldbody.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_PLANE, size=(10, 10, 1), pos=position, quat=quaternion)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def distance(model, data, first, second):
    return mujoco.mj_geomDistance(model, data, first, second, 10.0, None)


def test_there_are_more_than_a_hundred_objects_to_train_with_and_twenty_others_to_test_with():
    assert len(training_shapes()) > 100
    assert len(held_out_shapes()) == 20
    assert len(ALL) == len(training_shapes()) + len(held_out_shapes())  # no name twice
    assert len({shape.parts for shape in ALL.values()}) == len(ALL)  # no shape twice
    assert max(len(shape.parts) for shape in ALL.values()) == MAX_PARTS


@pytest.mark.parametrize("name", ALL)
def test_mujoco_finds_the_sides_the_volume_and_the_place_that_a_shape_claims(name):
    shape = ALL[name]
    model, data = compiled(shape)
    parts = range(model.body("object").geomadr[0], model.body("object").geomadr[0] + model.body("object").geomnum[0])
    gap = {plane: min(distance(model, data, model.geom(plane).id, part) for part in parts) for plane in PLANES}
    sides = 10 - np.array([gap["left"] + gap["right"], gap["front"] + gap["back"], gap["bottom"] + gap["top"]])
    np.testing.assert_allclose(sides, shape.sides, atol=1e-3)  # MuJoCo's distances have a tolerance
    assert max(shape.sides) == pytest.approx(1.0)
    assert gap["bottom"] == pytest.approx(5.0, abs=1e-3)  # stands on z = 0
    np.testing.assert_allclose([gap["left"] - gap["right"], gap["front"] - gap["back"]], 0.0, atol=2e-3)
    assert model.body("object").mass[0] == pytest.approx(shape.volume, rel=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_all_parts_hang_together(name):
    model, data = compiled(ALL[name])
    parts = list(range(model.body("object").geomadr[0], model.body("object").geomadr[0] + model.body("object").geomnum[0]))
    reached, waiting = {parts[0]}, [parts[0]]
    while waiting:
        part = waiting.pop()
        for other in set(parts) - reached:
            if distance(model, data, part, other) < 0.01:  # of the largest side: less than a millimetre
                reached.add(other)
                waiting.append(other)
    assert reached == set(parts)


def test_sizes_are_as_varied_as_the_papers_objects():
    # Percentiles 5, 50 and 95 over the published scenes, in m, of the smallest side and of the height.
    sides = np.array([shape.sides for shape in training_shapes()])
    scaled = sides * np.random.default_rng(0).uniform(0.06, 0.12, (200, len(sides)))[..., None]
    for values, published, within in (
        (scaled.min(axis=2), (0.014, 0.056, 0.097), 0.01),
        (scaled[..., 2], (0.014, 0.066, 0.110), 0.01),
    ):
        np.testing.assert_allclose(np.percentile(values, (5, 50, 95)), published, atol=within)


def test_a_family_alone_gives_the_members_that_it_gives_among_others():
    alone = families.draw({"rock": solids.FAMILIES["rock"]})
    assert set(alone) < set(training_shapes())


def test_a_hull_drops_the_points_inside_it():
    cube = list(itertools.product((0.0, 1.0), repeat=3))
    assert hull([*cube, (0.5, 0.5, 0.5)]).points == hull(cube).points


def test_overlapping_parts_count_twice():
    shape = normalized("two", [box((0, 0, 0), (1, 1, 1)), sphere((0, 0, 0), 0.5)])
    assert shape.volume == pytest.approx(1.0 + np.pi / 6)


# --- meshes of one's own ---

TETRAHEDRON = "v 0 0 0\nv 40 0 0\nv 0 20 0\nv 0 0 30\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(meshes.importlib.util, "find_spec", lambda name: None)
    folder = tmp_path / "meshes"
    folder.mkdir()
    (folder / "b.obj").write_text(TETRAHEDRON)
    (folder / "a.OBJ").write_text(TETRAHEDRON.replace("30", "10"))
    (folder / "notes.txt").write_text("no mesh")
    return folder


def test_without_coacd_meshes_become_their_hulls_with_a_warning(folder):
    with pytest.warns(UserWarning, match=r"residual-rl\[meshes\]"):
        first, second = shapes_in(folder)
    assert (first.name, second.name) == ("a", "b")
    np.testing.assert_allclose(second.sides, (1.0, 0.5, 0.75), atol=1e-6)
    assert second.volume == pytest.approx(1.0 * 0.5 * 0.75 / 6, rel=1e-5)
    assert [len(part.points) for part in second.parts] == [4]


@pytest.mark.filterwarnings("ignore:each mesh becomes one convex hull")
def test_convex_parts_are_cached_and_made_again_if_the_cache_is_damaged(folder, monkeypatch):
    once = shapes_in(folder)
    read = meshes._read
    monkeypatch.setattr(meshes, "_read", lambda path: pytest.fail("read again"))
    assert shapes_in(folder) == once
    for kept in meshes.cache_folder().iterdir():
        kept.write_bytes(kept.read_bytes()[:50])
    monkeypatch.setattr(meshes, "_read", read)
    assert shapes_in(folder) == once


def test_with_coacd_the_parts_are_its_parts(folder, monkeypatch):
    monkeypatch.setattr(meshes.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(meshes, "_decompose", lambda vertices, faces: [vertices, vertices + 0.5])
    assert [len(shape.parts) for shape in shapes_in(folder)] == [2, 2]


@pytest.mark.filterwarnings("ignore:each mesh becomes one convex hull")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "b.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"), "b.obj"),
        (lambda folder: (folder / "b.obj").write_text("nothing"), "b.obj"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "no .stl or .obj file"),
        (lambda folder: folder.rename(folder.with_name("elsewhere")), "is not a folder"),
    ],
    ids=["flat", "empty", "no meshes", "no folder"],
)
def test_what_cannot_be_an_object_is_named(folder, change, message):
    change(folder)
    with pytest.raises(ResidualRLError, match=message):
        objects.shapes_in(folder)
