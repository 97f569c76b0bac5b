"""Environments that show images: learner and replay see features, the base sees what the environment shows."""

import importlib
import json
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from interrupting import stop_after
from worlds import BUDGET, Reach

import residual_rl
from residual_rl.controllers.adapted import Character
from residual_rl.controllers.resolve import resolve
from residual_rl.custom.description import Description, Findings
from residual_rl.custom.opened import Opened
from residual_rl.encoders.encoder import ENCODERS, Encoder
from residual_rl.encoders.perception import images_in
from residual_rl.errors import ControllerError, EncoderError, Interrupted, ResidualRLError, RunError, WorldError
from residual_rl.reports.report import write_report
from residual_rl.residual import Composition
from residual_rl.rollout import collect
from residual_rl.runs.reading import read_rows
from residual_rl.spaces import layout_of
from residual_rl.spaces.packing import Packing
from residual_rl.storage import read_arrays
from residual_rl.training.experiment import Request, open_experiment

EXAMPLES = Path(__file__).parents[1] / "examples"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(EXAMPLES))  # as if it were run as a script
    example = importlib.import_module("image_features")
SIDE, Lamp, controller, encoder = example.SIDE, example.Lamp, example.controller, example.encoder

LAMP: dict[str, Any] = BUDGET | {"horizon": 10, "steps": 2400, "encoder": encoder}
SHORT: dict[str, Any] = LAMP | {"steps": 320, "evaluation_interval": 10_000}
"""Compiles nothing that a run with `LAMP` has not compiled."""


class Counted:
    """An encoder that counts the batches and the rows that it sees."""

    def __init__(self) -> None:
        self.calls = 0
        self.rows = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.uint8
        self.calls += 1
        self.rows += len(images)
        return encoder(images)


class Projection:
    """A random projection of an image, which can be saved: its weights follow from a seed, and lie in a file."""

    kind = "projection"

    def __init__(self, seed: int = 0):
        self.seed = seed
        self.weights = np.random.default_rng(seed).normal(size=(SIDE * SIDE, 2)).astype(np.float32)

    @property
    def digest(self) -> str:
        return f"{self.seed:08x}"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1).astype(np.float32) / 255.0 @ self.weights

    def save(self, path: Path, /) -> None:
        (path / "seed.json").write_text(json.dumps(self.seed))

    @classmethod
    def load(cls, path: Path, /) -> Self:
        return cls(json.loads((path / "seed.json").read_text()))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "lamp"
    residual_rl.improve(Lamp, controller, out=path, **LAMP)
    return path


def images(rows: int) -> np.ndarray:
    env = Lamp()
    return np.stack([env.reset(seed=seed)[0] for seed in range(rows)])


def test_a_controller_that_sees_images_is_improved_over_features(finished: Path) -> None:
    found = residual_rl.reevaluate(finished, controller, env=Lamp, encoder=encoder, episodes=128)
    assert found.better, found
    assert found.policy.mean_return > 0.7 * found.base.mean_return, found
    assert residual_rl.diagnose(finished) is not None
    assert write_report([finished]).stat().st_size > 1000


def test_the_policy_takes_images_and_corrects_by_their_features(finished: Path) -> None:
    policy = residual_rl.load(finished, controller, encoder=encoder)
    assert policy.promoted
    shown = images(6)
    actions = policy(shown)
    assert actions.shape == (6, 1)
    np.testing.assert_allclose(policy(shown[2]), actions[2], atol=1e-5)
    policy.scale = 0.0
    np.testing.assert_allclose(policy(shown), controller(shown).clip(-1.0, 1.0), atol=1e-7)  # the environment takes float32


def test_what_is_stored_are_features(finished: Path) -> None:
    arrays, _ = read_arrays(finished / "policy.safetensors")
    assert max(array.size for array in arrays.values()) < SIDE * SIDE * 32  # no layer sees an image


def test_an_encoder_that_is_a_callable_must_be_passed_and_be_the_same(finished: Path) -> None:
    with pytest.raises(RunError, match="the encoder 'encoder', which the run directory does not hold: pass it as encoder="):
        residual_rl.load(finished, controller)

    def other(shown: np.ndarray) -> np.ndarray:
        return 2.0 * encoder(shown)

    with pytest.raises(RunError, match="trained with the encoder 'encoder', not 'other'"):
        residual_rl.load(finished, controller, encoder=other)
    other.__name__ = "encoder"
    with pytest.raises(RunError, match="features of another encoder 'encoder': feature 0 in step 0"):
        residual_rl.load(finished, controller, encoder=other)


def test_a_base_of_the_same_name_is_found_out_by_the_images_that_a_run_keeps(finished: Path) -> None:
    def other(shown: np.ndarray) -> np.ndarray:
        return controller(shown) + 0.3

    other.__name__ = "controller"
    with pytest.raises(ControllerError, match="improves another 'controller'"):
        residual_rl.load(finished, other, encoder=encoder)


def test_export_refuses_an_encoder_by_name(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ResidualRLError, match="its encoder 'encoder' is a Python callable"):
        residual_rl.export(finished, tmp_path / "out")


@pytest.mark.parametrize("stop_at", [2, 12])
def test_a_run_that_was_stopped_goes_on_with_the_same_numbers(finished: Path, tmp_path: Path, stop_at: int) -> None:
    with pytest.raises(Interrupted):
        residual_rl.improve(Lamp, controller, out=tmp_path, on_progress=stop_after(stop_at), **LAMP)
    if stop_at == 12:
        with pytest.raises(RunError, match="trained with the encoder 'encoder', not 'Counted'"):
            residual_rl.improve(Lamp, controller, out=tmp_path, **LAMP | {"encoder": Counted()})
        assert residual_rl.diagnose(tmp_path, controller, env=Lamp, encoder=encoder) is not None
        residual_rl.judge(tmp_path, controller, env=Lamp, encoder=encoder, episodes=8)
        residual_rl.load(tmp_path, controller, encoder=encoder, unfinished=True)
    residual_rl.improve(Lamp, controller, out=tmp_path, **LAMP)
    for name in ("metrics.csv", "evaluations.csv"):
        mine, whole = ([{**row, "wall_seconds": 0.0} for row in read_rows(path / name)] for path in (tmp_path, finished))
        assert mine == whole
    assert (tmp_path / "policy.safetensors").read_bytes() == (finished / "policy.safetensors").read_bytes()


@pytest.mark.parametrize("vectorized", [False, True])
def test_the_encoder_runs_once_for_each_step_of_all_lanes(vectorized: bool) -> None:
    lanes = 3
    counted = Counted()
    env: Any = SyncVectorEnv([Lamp] * lanes, autoreset_mode=AutoresetMode.SAME_STEP) if vectorized else Lamp
    with closing(Opened(env, 10, encoder=Encoder(counted, "counted"), stored=1)) as opened:
        about = described(opened)
        task = opened.task(about, lanes)
        counted.calls = counted.rows = 0
        envs = task.open_lanes(lanes)
        observation, _ = envs.reset(seed=[1, 2, 3])
        assert counted.calls == 1
        for step in range(1, 11):
            observation, *_ = envs.step(np.zeros((lanes, 1)))
            assert (counted.calls, counted.rows) == (1 + step, lanes * (1 + step))
        assert observation["observation"].shape == (lanes, 2)
        assert observation["shown"].dtype == np.uint8


def described(opened: Opened) -> Description:
    findings = Findings("return", 1.0, sparse=False, episode_steps=10.0, goal_rules=None)
    return Description(opened.name, opened.layout, 10, findings, None)


class WithBody:
    """A controller with an encoder as its body; what it does itself with images is not to be needed."""

    is_random = False
    is_stateful = False

    def __init__(self) -> None:
        self.encoder = Counted()
        self.asked = 0

    def __call__(self, shown: np.ndarray) -> np.ndarray:
        raise AssertionError("asked with images")

    def act_on_features(self, features: np.ndarray) -> np.ndarray:
        assert features.dtype == np.float32
        self.asked += 1
        height, place = features.T
        return (-2.0 * place + np.where(height < 0.0, 0.8, -0.8))[:, None]


def test_an_encoder_that_is_the_bases_body_runs_once_for_both(tmp_path: Path) -> None:
    body = WithBody()
    fields = SHORT | {"encoder": None}
    run = residual_rl.improve(Lamp, body, out=tmp_path / "body", **fields)
    residual_rl.improve(Lamp, controller, out=tmp_path / "apart", **SHORT)
    evaluations = [read_rows(tmp_path / name / "evaluations.csv")[0]["base_mean_return"] for name in ("body", "apart")]
    assert evaluations[0] == pytest.approx(evaluations[1], abs=1e-6)  # the same base
    policy = residual_rl.load(run, body)
    before = body.encoder.calls, body.asked
    shown = images(4)
    policy.scale = 0.0 if policy.promoted else policy.scale
    np.testing.assert_allclose(policy(shown), controller(shown).clip(-1.0, 1.0), atol=1e-5)
    assert (body.encoder.calls, body.asked) == (before[0] + 1, before[1] + 1)


class LampAndRail(Lamp):
    """Shows the lamp's place as a number too, and the image inside of another dictionary."""

    observation_space = spaces.Dict(
        {"camera": spaces.Dict({"gray": Lamp.observation_space}), "rail": spaces.Box(-1.0, 1.0, (1,), np.float32)}
    )

    def image(self) -> Any:
        return {"camera": {"gray": super().image()}, "rail": np.array([self.place], np.float32)}


def from_dictionary(shown: Any) -> np.ndarray:
    return controller(shown["camera"]["gray"])


def encode_dictionary(shown: Any) -> np.ndarray:
    return np.concatenate([encoder(shown["camera"]["gray"])[:, :1], shown["rail"]], axis=1)


def test_a_dictionary_of_an_image_and_a_vector(tmp_path: Path) -> None:
    fields = SHORT | {"encoder": encode_dictionary}
    run = residual_rl.improve(LampAndRail, from_dictionary, out=tmp_path, **fields)
    policy = residual_rl.load(run, from_dictionary, encoder=encode_dictionary)
    env = LampAndRail()
    assert env.action_space.contains(policy(env.reset(seed=0)[0]).astype(np.float32))


def test_processes_show_the_same_and_encode_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    shown = []
    for processes in (False, True):
        counted = Counted()
        with closing(Opened(Lamp, 10, processes, Encoder(counted, "counted"), stored=1)) as opened:
            envs = opened.task(described(opened), 2).open_lanes(2)
            counted.calls = 0
            envs.reset(seed=[4, 5])
            shown.append(envs.step(np.full((2, 1), 0.25))[0])
            assert counted.calls == 2
    for key in ("observation", "shown"):
        np.testing.assert_array_equal(shown[0][key], shown[1][key])


def test_an_episode_holds_features_alone() -> None:
    with closing(Opened(Lamp, 10, encoder=Encoder(encoder, "encoder"), stored=1)) as opened:
        about = described(opened)
        base = (
            resolve(controller, opened.spec).fitted(opened.layout, Character(True, False, False, False, False, 0.1)).controller
        )
        envs = opened.task(about, 2).open_lanes(2)
        episodes, _ = collect(envs, base, Composition(), lambda seen, action, step: np.zeros_like(action), [1, 2])
    steps = episodes[0].transitions
    for observation in (steps.observation, steps.next_observation):
        assert observation.keys() == {"observation", "achieved_goal", "desired_goal"}
        assert observation["observation"].shape == (10, 2)
    # The base saw the images of which these are the features.
    place = steps.observation["observation"][:, 1]
    assert np.abs(np.abs(steps.base_action[:, 0] + 2.0 * place)[np.abs(place) < 0.09] - 0.8).max() < 1e-6


def test_a_saved_encoder_is_kept_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, Projection.kind, Projection)
    run = residual_rl.improve(Lamp, controller, out=tmp_path / "run", **SHORT | {"encoder": Projection(3)})
    policy = residual_rl.load(run, controller)  # of the run's own encoder
    again = residual_rl.load(run, controller, encoder=tmp_path / "run" / "encoder")
    shown = images(5)
    np.testing.assert_array_equal(policy(shown), again(shown))
    with pytest.raises(RunError, match="an encoder 'Projection' that has other weights"):
        residual_rl.load(run, controller, encoder=Projection(4))
    (tmp_path / "run" / "encoder" / "seed.json").write_text("4")
    with pytest.raises(EncoderError, match="is damaged: it is not what was saved"):
        residual_rl.load(run, controller)


def test_an_onnx_network_is_an_encoder(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    make, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        make.make_node("Cast", ["image"], ["floats"], to=kinds.FLOAT),
        make.make_node("Flatten", ["floats"], ["flat"]),
        make.make_node("MatMul", ["flat", "weights"], ["features"]),
    ]
    weights = onnx.numpy_helper.from_array(Projection().weights, "weights")
    shape = ["B", SIDE, SIDE, 1]
    graph = make.make_graph(
        nodes,
        "projection",
        [make.make_tensor_value_info("image", kinds.UINT8, shape)],
        [make.make_tensor_value_info("features", kinds.FLOAT, ["B", 2])],
        [weights],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "flat.onnx")
    run = residual_rl.improve(Lamp, controller, out=tmp_path / "run", **SHORT | {"encoder": tmp_path / "flat.onnx"})
    (tmp_path / "flat.onnx").unlink()
    assert residual_rl.load(run, controller)(images(3)).shape == (3, 1)


class SeenReach(Reach):
    """A goal environment that shows an image beside its goals."""

    def __init__(self) -> None:
        super().__init__()
        inside = dict(self.observation_space.spaces)
        inside["observation"] = spaces.Box(0, 255, (4, 4, 1), np.uint8)
        self.observation_space = spaces.Dict(inside)

    def seen(self, shown: Any) -> Any:
        place = ((shown["achieved_goal"].ravel()[0] + 2.0) * 50.0).clip(0, 255)
        return {**shown, "observation": np.full((4, 4, 1), place, np.uint8)}

    def reset(self, **arguments: Any) -> Any:
        shown, info = super().reset(**arguments)
        return self.seen(shown), info

    def step(self, action: np.ndarray) -> Any:
        shown, *rest = super().step(action)
        return self.seen(shown), *rest


def mean_of(shown: np.ndarray) -> np.ndarray:
    return shown.reshape(len(shown), -1).mean(axis=1, keepdims=True, dtype=np.float32) / 50.0


def test_goals_stay_as_they_are_beside_features(tmp_path: Path) -> None:
    def towards(shown: Any) -> np.ndarray:
        return 0.5 * (shown["desired_goal"] - shown["achieved_goal"])

    fields = {"method": "rpl", "preset": "default", "seed": 0}
    request = Request(towards, fields, None, [].append, tmp_path, writes=False, encoder=mean_of)
    with open_experiment(SeenReach, request, 10, False) as experiment:
        assert experiment.keeps_base_actions  # what the environment showed is not stored
        envs = experiment.task.open_lanes(experiment.config.episodes_per_cycle)
        observation, _ = envs.reset(seed=list(range(experiment.config.episodes_per_cycle)))
        goals = np.stack([SeenReach().reset(seed=seed)[0]["desired_goal"] for seed in range(3)])
        assert experiment.description is not None
        layout = experiment.description.layout
        np.testing.assert_allclose(layout.goals(observation["desired_goal"])[:3], goals)
        np.testing.assert_allclose(layout.raw(observation)["observation"], 2.0)  # 100 / 50, at the start
        np.testing.assert_array_equal(layout.unflatten(observation)["desired_goal"][:3], goals)


def test_an_image_environment_without_an_encoder_is_refused_before_training(tmp_path: Path) -> None:
    fields = SHORT | {"encoder": None, "replay_capacity": 100_000, "steps": 1_000_000}
    with pytest.raises(EncoderError) as raised:
        residual_rl.improve(LampAndRail, from_dictionary, out=tmp_path / "run", **fields)
    message = str(raised.value)
    assert "LampAndRail cannot be used: entry 'camera/gray' is an image, uint8 of shape (16, 16, 1)" in message
    assert "pass encoder=" in message
    each = 2 * 4 * (SIDE * SIDE + 1)
    assert f"{each / 1000:.3g} kB, and a replay of 100,000 of them {each / 10:.3g} MB" in message
    assert not (tmp_path / "run").exists()


def test_a_controller_alone_needs_no_encoder() -> None:
    quiet: Any = {"tell": None, "horizon": 10, "episodes": 16}
    assert residual_rl.evaluate(Lamp, controller, **quiet).base.mean_return < -1.0
    better = residual_rl.compare(LampAndRail, from_dictionary, lambda shown: -2.0 * shown["rail"], **quiet | {"episodes": 64})
    assert better.better


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda shown: encoder(shown)[0], r"'wrong' returned features of shape \(2,\), \(2, F\) is needed"),
        (lambda shown: encoder(shown)[:1], r"'wrong' returned features of shape \(1, 2\), \(2, F\) is needed"),
        (lambda shown: shown.reshape(len(shown), -1), "'wrong' returned uint8: features must be floating-point numbers"),
        (lambda shown: {"features": encoder(shown)}, "'wrong' returned object: features must be floating-point numbers"),
        (lambda shown: 1 / 0, "'wrong' raised ZeroDivisionError"),
        (lambda shown: np.where(shown.any(), np.nan, 1.0) * encoder(shown), r"features\[0\] of encoder 'wrong' is nan"),
        (lambda shown: encoder(shown)[:, : 1 + (shown.max() == 0)], r"shape \(1, 1\), \(1, 2\) is needed"),
    ],
)
def test_what_is_no_feature_is_named(wrong: Any, named: str, tmp_path: Path) -> None:
    wrong.__name__ = "wrong"
    with pytest.raises(WorldError, match=named):
        residual_rl.improve(Lamp, controller, out=tmp_path, **SHORT | {"encoder": wrong})


class NotFinite(LampAndRail):
    """Shows NaN beside its image, in the first step of an episode."""

    def image(self) -> Any:
        shown = super().image()
        return {**shown, "rail": np.full(1, np.nan, np.float32)} if self.steps else shown


def test_what_is_shown_and_is_not_finite_is_named_though_no_feature_shows_it(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match=r"rail\[0\] is nan"):
        residual_rl.improve(
            NotFinite,
            from_dictionary,
            out=tmp_path,
            **SHORT | {"encoder": lambda shown: encoder(shown["camera"]["gray"])},
        )


def test_other_things_than_encoders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"an encoder is a callable .* not int"):
        residual_rl.improve(Lamp, controller, out=tmp_path, **SHORT | {"encoder": 3})
    with pytest.raises(EncoderError, match="holds no saved encoder"):
        residual_rl.improve(Lamp, controller, out=tmp_path, **SHORT | {"encoder": tmp_path})
    with pytest.raises(ResidualRLError, match="encoder is for environments of your own"):
        residual_rl.improve("slippery-push", out=tmp_path, encoder=encoder)


def test_images_are_known_by_their_space() -> None:
    def found(space: spaces.Space[Any]) -> list[tuple[int, ...]]:
        return [entry.shape for entry in images_in(layout_of(space, Lamp.action_space).observation)]

    assert found(spaces.Box(0, 255, (8, 8), np.uint8)) == [(8, 8)]
    assert found(spaces.Box(0.0, 1.0, (3, 32, 32), np.float32)) == [(3, 32, 32)]
    for vector in (spaces.Box(0, 255, (128,), np.uint8), spaces.Box(-1.0, 1.0, (3, 3), np.float64), spaces.MultiBinary((4, 4))):
        assert found(vector) == []


def test_bytes_hold_exactly_what_was_shown() -> None:
    packing = Packing([(("image",), (3, 2), "uint8"), (("inside", "number"), (), "float64"), (("flags",), (3,), "int8")])
    rng = np.random.default_rng(0)
    shown = {
        "image": rng.integers(0, 256, (4, 3, 2), dtype=np.uint8),
        "inside": {"number": rng.normal(size=4)},
        "flags": rng.integers(0, 2, (4, 3), dtype=np.int8),
    }
    rows = np.zeros((4, packing.width + 5), np.uint8)
    packing.write(shown, rows)
    again = packing.read(rows)
    assert np.array_equal(again["image"], shown["image"])
    assert np.array_equal(again["inside"]["number"], shown["inside"]["number"])
    assert again["flags"].dtype == np.int8
    assert np.array_equal(again["flags"], shown["flags"])
    with pytest.raises(ValueError, match="'image' holds int64 numbers that uint8"):
        packing.write({**shown, "image": np.full((4, 3, 2), 300)}, rows)
    with pytest.raises(ValueError, match=r"'image' has shape \(4, 3\)"):
        packing.write({**shown, "image": shown["image"][..., 0]}, rows)


def test_the_example_is_that_of_the_documentation() -> None:
    page = (Path(__file__).parents[1] / "docs" / "encoders.md").read_text()
    for part in ("world", "controller", "encoder", "improve"):
        assert f'--8<-- "examples/image_features.py:{part}"' in page
    assert issubclass(Lamp, gymnasium.Env)
