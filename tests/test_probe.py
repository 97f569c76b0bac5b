"""What kind of controller is it? And what follows from that."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from worlds import BUDGET, Aim, Reach, straight

import residual_rl
from residual_rl.controllers.adapted import Adapted, Character, per_lane
from residual_rl.controllers.controller import batched, can_be_requeried, name_of, propose, start_episodes
from residual_rl.controllers.models import OnnxModel, StableBaselinesModel
from residual_rl.controllers.probe import advice, character_of
from residual_rl.controllers.resolve import resolve, traits_of
from residual_rl.custom.description import Description, Findings
from residual_rl.custom.opened import Opened
from residual_rl.errors import ControllerError
from residual_rl.evaluation import base_alone, roll_out
from residual_rl.policy import Policy
from residual_rl.residual import Composition
from residual_rl.rollout import collect
from residual_rl.spaces import layout_of
from residual_rl.types import Observation

BOX = spaces.Box(-np.inf, np.inf, (3,), np.float32)
LAYOUT = layout_of(BOX, spaces.Box(-2.0, 2.0, (2,), np.float32))
MATRIX = np.random.default_rng(0).normal(size=(3, 2))
LINE = Opened(Aim, 20).layout
MEMORY = Character(True, False, True, False, False, 0.0)
FINDINGS = Findings("return", 1.0, False, 5.0, None)


def shown(size: int = 4) -> Observation:
    return LAYOUT.flatten(np.random.default_rng(1).normal(size=(size, 3)).astype(np.float32), (size,))


def character(call: Any, lanes: int | None = None) -> Character:
    return character_of(call, LAYOUT, shown(), lanes)


def linear(observation: Any) -> Any:
    return observation @ MATRIX


def single(observation: np.ndarray) -> list[float]:
    return [observation[0] + observation[1], float(observation[2] > 0)]


def normed(observation: np.ndarray) -> np.ndarray:
    """Answers a batch too, but with the norm of all of it."""
    return (observation / np.linalg.norm(observation)) @ MATRIX


NOISE = np.random.default_rng(0)


def noisy(observation: np.ndarray) -> np.ndarray:
    return linear(observation) + NOISE.normal(size=(len(observation), 2))


def noisy_single(observation: np.ndarray) -> np.ndarray:
    return noisy(observation[None])[0]


class Integrator:
    """Of one observation; sums what it sees."""

    def __init__(self) -> None:
        self.sum = 0.0

    def reset(self) -> None:
        self.sum = 0.0

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        self.sum += float(observation[0])
        return np.array([self.sum, 0.0])


class Sums:
    """The same for a batch."""

    def reset(self, mask: np.ndarray) -> None:
        if not hasattr(self, "sum") or len(self.sum) != len(mask):
            self.sum = np.zeros(len(mask))
        self.sum[mask] = 0.0

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        self.sum = self.sum + observation[:, 0]
        return np.stack([self.sum, 0 * self.sum], axis=1)


class Locked(Integrator):
    """Cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Filter:
    """Remembers and does not say so."""

    value = 0.0

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        self.value = 0.9 * self.value + 0.1 * float(observation.sum())
        return np.array([self.value, 0.0])


class Latch:
    """Does something else once it has seen a large number."""

    seen = False

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        self.seen = self.seen or bool((observation > 0.906).any())  # the batch's largest is 0.9054
        return np.full((len(observation), 2), float(self.seen))


@pytest.mark.parametrize(
    ("call", "takes_batch", "is_random", "remembers"),
    [
        (linear, True, False, False),
        (single, False, False, False),
        (normed, False, False, False),
        (noisy, True, True, False),
        (batched(single), True, False, False),
        (batched(noisy_single), True, True, False),
        (Sums(), True, False, True),
        (per_lane(Integrator), True, False, True),
        (Integrator(), False, False, True),
        (Filter(), False, False, True),
        (Latch(), True, False, True),
        (lambda observation: observation[..., :2], True, False, False),
    ],
)
def test_what_a_controller_is_is_found_out(call: Any, takes_batch: bool, is_random: bool, remembers: bool) -> None:
    found = character(call)
    assert (found.takes_batch, found.is_random, found.is_stateful) == (takes_batch, is_random, remembers)
    assert found.can_be_requeried is not (is_random or remembers)
    adapted = Adapted(call, LAYOUT, found)
    assert can_be_requeried(adapted) is found.can_be_requeried
    start_episodes(adapted, 4)
    assert propose(adapted, shown(), 2).shape == (4, 2)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (Locked(), r"state of 'Locked' is that of one episode.*cannot be copied.*per_lane"),
        (lambda observation: np.zeros(5), r"neither a batch.*shape \(5,\).*nor a single one"),
        (lambda observation: 1 / 0, "neither a batch.*ZeroDivisionError"),
    ],
)
def test_what_cannot_be_right_is_refused_with_the_reason(call: Any, complaint: str) -> None:
    with pytest.raises(ControllerError, match=complaint):
        character(call)


def test_one_lane_needs_one_memory() -> None:
    found = character(Locked(), lanes=1)
    assert (found.takes_batch, found.is_stateful) == (False, True)


def test_what_it_says_about_itself_comes_first() -> None:
    def sure(observation: Any) -> Any:
        return noisy(observation)

    sure.is_random = False  # type: ignore[attr-defined]
    sure.can_be_requeried = False  # type: ignore[attr-defined]
    assert (character(sure).is_random, character(sure).can_be_requeried) == (False, False)
    each = batched(single)
    each.takes_batch = True  # type: ignore[attr-defined]
    assert character(each).takes_batch


def test_a_slow_controller_is_not_asked_again() -> None:
    def slow(observation: np.ndarray) -> Any:
        time.sleep(0.02)
        return linear(observation)

    assert not character(slow).can_be_requeried
    assert not character(batched(lambda observation: slow(observation[None])[0])).can_be_requeried
    slow.can_be_requeried = True  # type: ignore[attr-defined]
    assert character(slow).can_be_requeried


def test_processes_are_advised_where_a_controller_of_one_observation_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("residual_rl.controllers.probe.usable_cores", lambda: 8)

    def told(call: Any, takes_batch: bool, milliseconds: float, lanes: int | None = None) -> str:
        return advice(call, Character(takes_batch, False, False, False, False, milliseconds), lanes)

    assert told(straight, False, 20.0) == (
        "straight takes 20 ms for each observation: residual_rl.in_processes(make) runs it in 8 processes at once"
    )
    assert "20 ms" in told(per_lane(lambda: straight), True, 100.0)
    assert not any((told(straight, True, 20.0), told(straight, False, 0.5), told(straight, False, 20.0, lanes=1)))


def test_a_function_of_one_observation_with_memory_is_not_lifted() -> None:
    with pytest.raises(ControllerError, match="per_lane"):
        batched(Integrator())


class Tensor:
    """As PyTorch's: refuses to be an array before it is detached."""

    def __init__(self, values: Any):
        self.values = values

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")

    def detach(self) -> Any:
        there = SimpleNamespace(numpy=lambda: self.values)
        there.float = lambda: there
        return SimpleNamespace(cpu=lambda: there)


def test_answers_may_be_of_pytorch_or_jax() -> None:
    import jax.numpy as jnp

    expected = propose(Adapted(linear, LAYOUT, character(linear)), shown(), 2)
    for lift in (Tensor, jnp.asarray, np.ndarray.tolist):
        call = lambda observation, lift=lift: lift(linear(observation))  # noqa: E731
        np.testing.assert_allclose(propose(Adapted(call, LAYOUT, character(call)), shown(), 2), expected, rtol=1e-6)


def test_a_model_of_stable_baselines_is_a_controller() -> None:
    class PPO:
        policy = object()

        def predict(self, observation: Any, deterministic: bool = False) -> tuple[np.ndarray, None]:
            assert deterministic
            return linear(observation), None

    base = resolve(PPO(), Opened(Aim, 20).spec)
    call, name = base.controller, base.name
    assert name == "PPO"
    np.testing.assert_array_equal(call(np.ones((2, 3))), linear(np.ones((2, 3))))
    assert character(call).takes_batch
    with pytest.raises(ControllerError, match="recurrent"):
        StableBaselinesModel(SimpleNamespace(policy=SimpleNamespace(lstm_actor=1), predict=None))


def test_models_of_stable_baselines_are_told_apart_by_their_weights() -> None:
    """A residual corrects one of them, and not another of its class."""

    def name(weight: float) -> str:
        policy = SimpleNamespace(state_dict=lambda: {"actor": Tensor(np.array([weight])), "critic": Tensor(np.ones(3))})
        return StableBaselinesModel(SimpleNamespace(policy=policy, predict=None)).__name__

    assert name(1.0) == name(1.0) != name(2.0)
    assert name(1.0).startswith("SimpleNamespace-")
    without = SimpleNamespace(policy=SimpleNamespace(state_dict=dict), predict=None)
    assert StableBaselinesModel(without).__name__ == "SimpleNamespace"


def test_an_onnx_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ControllerError, match=r"there is no file .*nothing\.onnx"):
        residual_rl.evaluate(Aim, str(tmp_path / "nothing.onnx"), horizon=20)


def test_networks_whose_weights_lie_beside_them_are_told_apart(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    names = []
    for gain in (1.0, 2.0):
        weights = onnx.numpy_helper.from_array(np.full((1, 1), gain, np.float32), "weights")
        values = [helper.make_tensor_value_info(name, kind, ["B", 1]) for name in "xy"]
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "weights"], ["y"])], "law", [values[0]], [values[1]], [weights]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path = tmp_path / str(gain) / "law.onnx"
        path.parent.mkdir()
        onnx.save(model, path, save_as_external_data=True, location="law.data", size_threshold=0)
        names.append(name_of(OnnxModel(path)))
    assert names[0] != names[1]
    assert all(name.startswith("law-") for name in names)


def test_an_onnx_file_is_a_controller(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    for rows in ("batch", 1):
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["seen", "matrix"], ["action"])],
            "linear",
            [helper.make_tensor_value_info("seen", kind, [rows, 3])],
            [helper.make_tensor_value_info("action", kind, [rows, 2])],
            [onnx.numpy_helper.from_array(MATRIX.astype(np.float32), "matrix")],
        )
        path = tmp_path / f"linear-{rows}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        base = resolve(str(path), Opened(Aim, 20).spec)
        call, name = base.controller, base.name
        assert name.startswith(f"linear-{rows}-")
        observation = np.ones((4, 3))
        np.testing.assert_allclose(call(observation), linear(observation), rtol=1e-5)
        assert character(call).takes_batch
        with pytest.raises(ControllerError, match=r"has inputs seen; the observation has no seen"):
            call({"other": observation})


class Noted:
    """Of one observation; notes what it was asked, from its start on."""

    each: list["Noted"] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.asked: list[list[float]] = []
        Noted.each.append(self)

    def reset(self) -> None:
        self.asked.append([])

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        self.asked[-1].append(float(observation[0])) if self.asked else None
        return np.array([1.0])


def test_a_controller_with_memory_is_asked_once_a_step_in_order_from_the_start_of_each_episode() -> None:
    opened = Opened(Aim, 20)
    lanes = opened.task(Description("Aim", opened.layout, 20, FINDINGS, None), 3).open_lanes()
    for way in ("collected", "rolled out"):
        Noted.each = []
        base = Adapted(per_lane(Noted), opened.layout, MEMORY)
        episodes, _ = collect(lanes, base, Composition(), lambda o, b, s: np.zeros_like(b), [1, 2, 3])
        if way == "rolled out":
            roll_out(lanes, base_alone(base, Composition(), 1), [1, 2, 3])
        for lane, episode in enumerate(episodes):
            steps = episode.transitions
            seen = [*steps.observation["observation"][:, 0], steps.next_observation["observation"][-1, 0]]
            asked = Noted.each[lane].asked
            if way == "collected":
                assert asked[0][: len(seen)] == seen
            else:
                assert asked[1][: len(seen) - 1] == seen[:-1]


def test_the_residual_sees_what_a_remembering_controller_proposed(tmp_path: Path) -> None:
    budget = BUDGET | {"steps": 100, "evaluation_episodes": 2, "verdict_episodes": 2}

    class Drifting:
        def reset(self) -> None:
            self.drift = 0.0

        def __call__(self, observation: np.ndarray) -> np.ndarray:
            self.drift += 0.1
            return 1.0 + 2.0 * observation + self.drift

    run = residual_rl.improve(Aim, per_lane(Drifting), out=tmp_path, **budget)
    assert run.config.algorithm.composition.actor_sees_base
    policy = Policy(Adapted(per_lane(Drifting), LINE, MEMORY), Composition(), None, Opened(Aim, 20).spec, LINE)
    for _ in range(2):
        policy.reset()
        actions = [policy(np.zeros(1, np.float32)) for _ in range(3)]
        np.testing.assert_allclose(np.concatenate(actions), [1.1, 1.2, 1.3], rtol=1e-6)


@pytest.mark.parametrize(("call", "shown"), [(noisy, True), (linear, False), (Sums(), True)])
def test_the_residual_sees_the_base_action_where_nothing_else_tells_of_it(call: Any, shown: bool) -> None:
    assert traits_of(Adapted(call, LAYOUT, character(call))).is_hidden == shown


def test_the_line_about_a_controller_is_told_once(tmp_path: Path) -> None:
    lines: list[str] = []
    budget = BUDGET | {"steps": 100, "evaluation_episodes": 2, "verdict_episodes": 2, "tell": lines.append}
    for _ in range(2):
        residual_rl.improve(Reach, straight, out=tmp_path, **budget)
    (line,) = (line for line in lines if line.startswith("straight"))
    assert line.startswith("straight: called with one observation at a time, deterministic, stateless, goal-conditioned, ")
