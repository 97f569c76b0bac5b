"""A small network in a file of plain arrays as a controller: what it proposes, safe files, and runs that keep it."""

import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny import TINY

import residual_rl
from residual_rl.controllers import NetworkController, TableController, make_controller, propose
from residual_rl.errors import ControllerError
from residual_rl.tasks import TASKS
from residual_rl.types import Observation

TASK = TASKS["door-state"]
ROOT = Path(__file__).parents[1]
EXPERTS = next((one for one in (ROOT, ROOT.parent) if (one / "shared/adroit_experts").is_dir()), ROOT) / "shared/adroit_experts"


def arrays_of(spec=TASK.spec, hidden=5, scaled=True, seed=0):
    rng = np.random.default_rng(seed)
    sizes = (spec.observation_size, hidden, hidden, spec.action_size)
    arrays = {}
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        arrays[f"kernel_{number}"] = rng.normal(size=(inputs, outputs)).astype(np.float32) / np.sqrt(inputs)
        arrays[f"bias_{number}"] = rng.normal(size=outputs).astype(np.float32)
    if scaled:
        for name, width in zip(("in_shift", "out_shift"), (sizes[0], sizes[-1]), strict=True):
            arrays[name] = rng.normal(size=width).astype(np.float32)
            arrays[name.replace("shift", "scale")] = rng.uniform(0.5, 2.0, width).astype(np.float32)
    return arrays


def seeing(rows):
    return Observation(observation=rows, achieved_goal=rows[:, :0], desired_goal=rows[:, :0])


@pytest.fixture(params=["npz", "safetensors"])
def file(request, tmp_path):
    path, arrays = tmp_path / f"expert.{request.param}", arrays_of()
    if request.param == "npz":
        np.savez(path, **arrays)
    else:
        save_file(arrays, path)
    return path


def test_it_computes_the_documented_formula_for_each_row(file):
    network, arrays = make_controller(str(file), TASK.spec), {name: array.astype(float) for name, array in arrays_of().items()}
    rows = np.random.default_rng(1).normal(size=(4, 39))
    for row, action in zip(rows, propose(network, seeing(rows), 28), strict=True):
        x = (row - arrays["in_shift"]) / (arrays["in_scale"] + 1e-8)
        x = np.tanh(x @ arrays["kernel_0"] + arrays["bias_0"])
        x = np.tanh(x @ arrays["kernel_1"] + arrays["bias_1"])
        expected = (x @ arrays["kernel_2"] + arrays["bias_2"]) * arrays["out_scale"] + arrays["out_shift"]
        np.testing.assert_allclose(action, expected, rtol=1e-12, atol=1e-12)


def test_a_gain_multiplies_the_actions_and_makes_another_controller(file):
    rows = seeing(np.random.default_rng(1).normal(size=(3, 39)))
    whole, part = (make_controller(f"{file}{gain}", TASK.spec) for gain in ("", "@0.72"))
    np.testing.assert_allclose(part(rows), 0.72 * whole(rows), rtol=1e-12)
    assert part.digest != whole.digest
    with pytest.raises(ControllerError, match="must end in a number after the @"):
        make_controller(f"{file}@much", TASK.spec)


def test_it_comes_back_as_it_was_saved(file, tmp_path):
    network = make_controller(f"{file}@0.5", TASK.spec)
    (tmp_path / "kept").mkdir()
    network.save(tmp_path / "kept")
    again = NetworkController.load(tmp_path / "kept", TASK.spec)
    assert again.digest == network.digest
    rows = seeing(np.random.default_rng(1).normal(size=(3, 39)))
    assert np.array_equal(again(rows), network(rows))


def test_an_archive_is_a_table_or_a_network_by_its_arrays(tmp_path):
    TableController(np.zeros((2, 39)), np.ones((2, 28))).save(tmp_path / "table.npz")
    assert isinstance(make_controller(str(tmp_path / "table.npz"), TASK.spec), TableController)
    with pytest.raises(ControllerError, match="only a network's actions can have a gain"):
        make_controller(f"{tmp_path / 'table.npz'}@0.5", TASK.spec)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kernel_1": np.zeros((4, 5))}, r"kernel_1 must have shape \(5, outputs\), not \(4, 5\)"),
        ({"bias_0": np.zeros(4)}, r"bias_0 must have shape \(5,\), not \(4,\)"),
        ({"bias_1": None}, "lacks 'bias_1'"),
        ({"out_scale": np.ones(27)}, r"out_scale must have shape \(28,\), not \(27,\)"),
        ({"kernel_0": np.full((39, 5), np.nan)}, "kernel_0 must be finite numbers"),
        ({"weights": np.zeros(3)}, "'weights' is no array of a network"),
    ],
)
def test_arrays_that_make_no_network_are_named(tmp_path, change, complaint):
    arrays = {name: array for name, array in (arrays_of() | change).items() if array is not None}
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(ControllerError, match=rf"odd\.npz: .*{complaint}"):
        make_controller(str(tmp_path / "odd.npz"), TASK.spec)


def test_a_network_for_another_task_and_damaged_files_are_refused(tmp_path, file):
    with pytest.raises(ControllerError, match="it takes 39 numbers and returns 28, but 46 and 26 are needed"):
        make_controller(str(file), TASKS["hammer-state"].spec)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ControllerError, match="damaged"):
        make_controller(str(file), TASK.spec)
    with pytest.raises(ControllerError, match="there is no such file"):
        NetworkController.load(tmp_path / "nowhere.npz")


def test_a_pickle_in_the_archive_is_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path(tmp_path / "sprung").touch, ())

    np.savez(tmp_path / "trap.npz", kernel_0=np.array([Trap()], dtype=object), bias_0=np.zeros(1))
    with pytest.raises(ControllerError, match="damaged, or holds something else than plain numbers"):
        make_controller(str(tmp_path / "trap.npz"), TASK.spec)
    (tmp_path / "trap.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ControllerError, match="damaged"):
        make_controller(str(tmp_path / "trap.safetensors"), TASK.spec)
    assert not (tmp_path / "sprung").exists()


def test_a_run_keeps_its_network(tmp_path):
    arrays = arrays_of(TASKS["push"].spec)
    np.savez(tmp_path / "base.npz", **arrays)
    residual_rl.improve("push", str(tmp_path / "base.npz"), out=tmp_path / "run", **(TINY | {"steps": 400}))
    (tmp_path / "base.npz").unlink()
    policy = residual_rl.load(tmp_path / "run")
    rows = seeing(np.random.default_rng(1).normal(size=(3, 25)))
    expected = NetworkController(arrays)(rows).clip(-1.0, 1.0)
    if not policy.promoted:
        rows = rows | {"achieved_goal": np.zeros((3, 3)), "desired_goal": np.zeros((3, 3))}
        assert np.array_equal(policy(rows), expected)


@pytest.mark.skipif(not EXPERTS.is_dir(), reason="the experts' arrays are not in shared/adroit_experts")
@pytest.mark.parametrize(
    ("name", "least", "most"), [("door", 38, 40), ("hammer", 38, 40), ("pen", 24, 38), ("relocate", 38, 40)]
)
def test_the_published_experts_solve_their_tasks(name, least, most):
    """500 episodes each: docs/tasks.md."""
    task = TASKS[f"{name}-state"]
    found = residual_rl.evaluate(task.name, str(EXPERTS / f"{name}.npz"), episodes=40)
    assert least <= 40 * found.base.success_rate <= most
