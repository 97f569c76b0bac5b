"""Who may import whom: the rules of the design, read off the source."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import residual_rl

ROOT = Path(residual_rl.__file__).parent


def module_name(path):
    parts = ("residual_rl", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imported(path):
    """Every module that a file imports, wherever in the file, except for type checkers only."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from [name for name in submodules if name in FILES] or [node.module]


IMPORTS = {name: set(imported(path)) for name, path in FILES.items()}


def inside(package):
    return [name for name in FILES if name == package or name.startswith(f"{package}.")]


FRONT_DOORS = {
    *inside("residual_rl.api"),
    "residual_rl.pictures.watch",
    "residual_rl.pictures.watch_custom",
    "residual_rl.studies.estimate",
    "residual_rl.studies.attempt",
    "residual_rl.studies.ray_runner",
    "residual_rl.studies.ray_task",
    "residual_rl.studies.runner",
    "residual_rl.studies.running",
    *inside("residual_rl.cli"),
    *inside("residual_rl.benchmarks"),
}


def offenders(modules, forbidden):
    """Lines `module imports other` for every import of something forbidden, or of a part of it."""
    return [
        f"{name} imports {other}"
        for name in modules
        for other in sorted(IMPORTS[name])
        if any(other == one or other.startswith(f"{one}.") for one in forbidden)
    ]


def ours_beyond(modules, allowed):
    """Lines `module imports other` for every import of ours that is not allowed."""
    return [
        f"{name} imports {other}"
        for name in modules
        for other in sorted(IMPORTS[name])
        if other.split(".")[0] == "residual_rl" and not any(other == one or other.startswith(f"{one}.") for one in allowed)
    ]


def test_the_source_is_found():
    assert {"residual_rl.types", "residual_rl.learning.replay", "residual_rl.tasks.fetch"} <= FILES.keys()
    assert "residual_rl.types" in IMPORTS["residual_rl.residual"]
    assert "residual_rl.learning.normalizer" in IMPORTS["residual_rl.learning.ddpg"]


def test_types_know_nothing():
    assert ours_beyond(["residual_rl.types"], []) == []
    assert offenders(["residual_rl.types"], ["jax", "equinox", "mujoco", "gymnasium"]) == []


def test_the_composition_knows_types_alone():
    """It works on NumPy and JAX alike by knowing neither."""
    assert ours_beyond(["residual_rl.residual"], ["residual_rl.types"]) == []
    assert offenders(["residual_rl.residual"], ["jax", "equinox", "numpy", "mujoco", "gymnasium"]) == []


def test_the_runtime_of_bundles_knows_numpy_alone():
    """It is copied into every bundle."""
    assert {name.split(".")[0] for name in IMPORTS["residual_rl.bundles.runtime"]} - sys.stdlib_module_names == {"numpy"}


def test_the_server_of_controllers_knows_numpy_alone():
    """It is copied beside packages that do not fit ours."""
    assert {name.split(".")[0] for name in IMPORTS["residual_rl.controllers.serving"]} - sys.stdlib_module_names == {"numpy"}


def test_learning_knows_no_world():
    modules = inside("residual_rl.learning")
    assert (
        ours_beyond(modules, ["residual_rl.types", "residual_rl.residual", "residual_rl.errors", "residual_rl.learning"]) == []
    )
    assert offenders(modules, ["mujoco", "gymnasium", "gymnasium_robotics"]) == []


ALGORITHMS = {"residual_rl.learning.ddpg", "residual_rl.learning.gated_ddpg"}


def test_outside_of_learning_only_presets_name_an_algorithm():
    """All else asks the algorithm that it was given."""
    assert IMPORTS["residual_rl.presets"] >= ALGORITHMS
    others = [name for name in FILES if name not in {"residual_rl.presets", *inside("residual_rl.learning")}]
    assert offenders(others, ALGORITHMS) == []
    names = re.compile("|".join((*(name.rpartition(".")[2] for name in ALGORITHMS), r"\bDDPG\b", "GatedDDPG", "gated-ddpg")))
    peers = "residual_rl.benchmarks.peers"  # its DDPG is that of Stable-Baselines3
    assert [name for name in others if names.search(code_of(FILES[name]))] == [peers]
    assert {match.group() for match in names.finditer(code_of(FILES[peers]))} == {"DDPG"}


def test_a_new_algorithm_touches_two_files_outside_its_own():
    """As few as the algorithms of the library do; `test_new_algorithm` brings one that touches none."""
    for module in ALGORITHMS:
        using = {name for name in FILES if name not in ALGORITHMS and offenders([name], [module])}
        assert using == {"residual_rl.learning.algorithms", "residual_rl.presets"}


def code_of(path):
    """The source without docstrings and comments."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = ""
    return ast.unparse(tree)


@pytest.mark.parametrize("package", ["residual_rl.tasks", "residual_rl.controllers"])
def test_worlds_and_controllers_know_no_learner(package):
    modules = inside(package)
    assert offenders(modules, ["jax", "equinox", "optax", "residual_rl.learning"]) == []
    allowed = [
        "residual_rl.types",
        "residual_rl.errors",
        "residual_rl.optional",
        "residual_rl.processes",
        "residual_rl.spaces",
        "residual_rl.tasks",
    ]
    assert ours_beyond(modules, [*allowed, package]) == []


def test_only_the_front_doors_know_the_loop():
    others = [name for name in FILES if name not in FRONT_DOORS]
    assert offenders(others, ["residual_rl.training.train"]) == []


def test_nothing_imports_the_front_doors_but_the_front_doors():
    others = [name for name in FILES if name not in FRONT_DOORS]
    assert offenders(others, FRONT_DOORS) == []


def test_only_learning_and_what_joins_it_to_the_world_know_jax():
    joins = {
        "residual_rl.training.cycle",
        "residual_rl.training.state",
        "residual_rl.policy",
        "residual_rl.benchmarks.memory",
        "residual_rl.benchmarks.updates",
    }
    knowing = ("residual_rl.learning", "residual_rl.pets", "residual_rl.clones")
    others = [name for name in FILES if name not in joins and not name.startswith(knowing)]
    assert offenders(others, ["jax", "equinox", "optax"]) == []


def test_mujoco_is_known_to_tasks_and_what_draws_or_times_them_alone():
    knowing = {"residual_rl.pictures.rendering", "residual_rl.pictures.window", "residual_rl.benchmarks.physics"}
    others = [name for name in FILES if not name.startswith("residual_rl.tasks") and name not in knowing]
    assert offenders(others, ["mujoco"]) == []


@pytest.mark.parametrize("module", ["residual_rl", "residual_rl.cli.main"])
def test_what_takes_long_to_import_waits_until_it_is_needed(module):
    """So that environments and `--help` are there at once."""
    said = f"import {module}, sys; print([name for name in ('jax', 'scipy.spatial', 'scipy.stats') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def cycle(imports):
    """Names of which each leads to the next and the last is the first again; none, where there is no such round."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_a_cycle_is_found():
    assert sorted(set(cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}))) == ["b", "c"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_imports_have_no_cycles():
    assert cycle({name: IMPORTS[name] & FILES.keys() for name in FILES}) == []


def test_packages_have_no_cycles():
    """A package, seen as one thing, never needs what needs it."""

    def room(name):
        return ".".join(name.split(".")[:2])

    rooms = {room(name): set() for name in FILES}
    for name in FILES:
        rooms[room(name)] |= {room(other) for other in IMPORTS[name] & FILES.keys()} - {room(name)}
    assert cycle(rooms) == []


def test_no_room_without_a_name():
    """Such a name says that the code has not found its room."""
    homeless = {"utils", "util", "common", "helpers", "helper", "manager", "factory", "base", "misc"}
    assert [name for name in FILES if name.rsplit(".", 1)[-1] in homeless] == []
