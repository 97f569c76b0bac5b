"""Memory, chance and simulators are told apart by what copies of a controller answer, and the controller stays as it is."""

import random
import threading
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from worlds import BUDGET, Aim

import residual_rl
from residual_rl.controllers.adapted import Adapted, Character, per_lane
from residual_rl.controllers.controller import batched, propose, start_episodes
from residual_rl.controllers.copying import CannotCopy, copy_of
from residual_rl.controllers.episode_start import takes_no_mask
from residual_rl.controllers.models import StableBaselinesModel
from residual_rl.controllers.probe import character_of
from residual_rl.errors import ControllerError
from residual_rl.spaces import layout_of
from residual_rl.types import Observation

BOX = spaces.Box(-np.inf, np.inf, (3,), np.float32)
LAYOUT = layout_of(BOX, spaces.Box(-2.0, 2.0, (2,), np.float32))
ONE = layout_of(BOX, spaces.Box(-2.0, 2.0, (1,), np.float32))
FEW: dict[str, Any] = BUDGET | {"steps": 200, "evaluation_episodes": 4, "verdict_episodes": 4}

count = 0


def shown(size: int = 4) -> Observation:
    return LAYOUT.flatten(np.random.default_rng(1).normal(size=(size, 3)).astype(np.float32), (size,))


def found(call: Any, lanes: int | None = None) -> tuple[Character, list[str]]:
    lines: list[str] = []
    return character_of(call, LAYOUT, shown(), lanes, lines.append), lines


# --- memory and chance ---


class Tracker:
    """Adds a feed-forward, looked up by its own count of steps."""

    def __init__(self, flat: int = 0) -> None:
        self.forward = np.concatenate([np.zeros(flat), np.sin(np.arange(1.0, 200.0))])
        self.step = 0

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        self.step += 1
        return np.array([observation[0] + self.forward[self.step], 0.0])


def counting_closure() -> Callable[[np.ndarray], np.ndarray]:
    steps = 0

    def law(observation: np.ndarray) -> np.ndarray:
        nonlocal steps
        steps += 1
        return np.array([observation[0], 0.01 * steps])

    return law


def counting_globally(observation: np.ndarray) -> np.ndarray:
    global count
    count += 1
    return np.array([observation[0], 0.01 * count])


def counting_in_a_default(observation: np.ndarray, steps: list[int] = [0]) -> np.ndarray:  # noqa: B006
    steps[0] += 1
    return np.array([observation[0], 0.01 * steps[0]])


def counting_in_a_batch() -> Callable[[np.ndarray], np.ndarray]:
    steps = [0]

    def law(observation: np.ndarray) -> np.ndarray:
        assert observation.ndim == 2
        steps[0] += 1
        return np.stack([observation[:, 0], np.full(len(observation), 0.01 * steps[0])], axis=1)

    return law


class Act:
    def __init__(self) -> None:
        self.tracker = Tracker()

    def act(self, gain: float, observation: np.ndarray) -> np.ndarray:
        return gain * self.tracker(observation)


class Seeded:
    """Has a generator of its own, which begins with a seed."""

    def __init__(self, rng: Any) -> None:
        self.rng = rng

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        return observation[:2] + self.rng.uniform(-1.0, 1.0)


@pytest.mark.parametrize(
    "make",
    [
        Tracker,
        lambda: Tracker(flat=100),
        counting_closure,
        lambda: counting_globally,
        lambda: counting_in_a_default,
        counting_in_a_batch,
        lambda: partial(Act().act, 0.5),
        lambda: batched(counting_closure()),
    ],
    ids=["counts", "counts unseen", "closure", "global", "default", "batch", "partial method", "lifted"],
)
def test_what_counts_its_own_steps_remembers_and_every_episode_gets_a_copy_of_it(make: Any) -> None:
    call, other = make(), make()
    character, lines = found(call)
    assert (character.is_random, character.is_stateful, character.lanes) == (False, True, "copied")
    assert "is stateful" in lines[0]
    adapted = Adapted(call, LAYOUT, character)
    for _ in range(2):
        start_episodes(adapted, 3)
        actions = np.stack([propose(adapted, shown(3), 2) for _ in range(4)])
        single = Adapted(other, LAYOUT, Character(character.takes_batch, False, False, False, False, 0.0))
        fresh = copy_of(single)
        one = Observation(**{key: value[2:3] for key, value in shown(3).items()})  # type: ignore[typeddict-item]
        np.testing.assert_array_equal(actions[:, 2], [propose(fresh, one, 2)[0] for _ in range(4)])


@pytest.mark.parametrize("rng", [np.random.default_rng(0), np.random.RandomState(0), random.Random(0), np.random, random])
def test_what_draws_numbers_is_random_whoever_seeded_it(rng: Any) -> None:
    character, lines = found(Seeded(rng))
    assert (character.is_random, character.is_stateful, lines) == (True, False, [])


def test_probing_changes_nothing_in_the_controller() -> None:
    tracker, law, generator = Tracker(), counting_closure(), np.random.default_rng(5)
    before = count
    for call in (tracker, law, counting_globally, counting_in_a_default, Seeded(generator)):
        found(call)
    assert tracker.step == 0
    assert law(np.zeros(3))[1] == 0.01
    assert count == before
    assert counting_in_a_default(np.zeros(3))[1] == 0.01
    assert generator.random() == np.random.default_rng(5).random()
    counting_in_a_default.__defaults__[0][0] = 0  # type: ignore[index]


def test_what_cannot_be_copied_says_so_by_attribute() -> None:
    class Locked(Tracker):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

    character, lines = found(Locked())
    assert character.is_random
    assert "cannot be copied" in lines[0]
    assert "is_stateful = True" in lines[0]
    Locked.is_random = True  # type: ignore[attr-defined]
    assert found(Locked())[1] == []
    Locked.is_random, Locked.is_stateful = False, True  # type: ignore[attr-defined]
    with pytest.raises(ControllerError, match=r"cannot be copied.*per_lane"):
        found(Locked())


def test_a_finding_can_be_overruled() -> None:
    tracker: Any = Tracker()
    tracker.is_stateful = False
    character, lines = found(tracker)
    assert (character.is_stateful, lines) == (False, [])


def test_copies_share_environments_and_nothing_else() -> None:
    env = gymnasium.make("Pendulum-v1")
    held = {"list": [1]}

    def law(observation: Any) -> Any:
        return env, held

    copied = copy_of(law)
    assert copied(0)[0] is env
    assert copied(0)[1] == held
    assert copied(0)[1] is not held
    with pytest.raises(CannotCopy, match="lock"):
        copy_of(SimpleNamespace(lock=threading.Lock()))


class Line(gymnasium.Env):
    """The right action follows the step: 1 for a step that is odd, else -1; the observation says nothing of it."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._show(), {}

    def _show(self) -> np.ndarray:
        return self.np_random.uniform(-1.0, 1.0, 1).astype(np.float32)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = -abs(float(action[0]) - (1.0 if self.steps % 2 else -1.0))
        self.steps += 1
        return self._show(), reward, False, self.steps == 10, {}


def test_a_tracker_of_its_own_steps_does_as_well_as_alone_in_a_run_of_many_lanes() -> None:
    class Alternates:
        step = 0

        def __call__(self, observation: np.ndarray) -> list[float]:
            self.step += 1
            return [-1.0 if self.step % 2 else 1.0]

    result = residual_rl.evaluate(Line, Alternates(), horizon=10, episodes=70, tell=lambda line: None)
    assert isinstance(result, residual_rl.api.Baseline)
    assert result.base.mean_return == 0.0


# --- simulators ---


def test_one_that_reads_a_simulator_of_its_own_is_pointed_out() -> None:
    own = Aim()
    own.reset(seed=3)

    def cheat(observation: np.ndarray) -> np.ndarray:
        return 1.0 + 2.0 * own.shown

    lines: list[str] = []
    residual_rl.evaluate(Aim, cheat, horizon=20, episodes=2, tell=lines.append)
    assert any(line.startswith("cheat proposes the same action for every observation") for line in lines), lines


def test_one_that_reads_the_simulator_that_is_stepped_keeps_its_proposals(tmp_path: Any) -> None:
    env = Aim()

    def cheat(observation: np.ndarray) -> np.ndarray:
        return 1.0 + 2.0 * env.shown

    lines: list[str] = []
    run = residual_rl.improve(env, cheat, out=tmp_path, **FEW | {"tell": lines.append, "episodes_per_cycle": 1})
    assert any("depends on something that it is not shown" in line for line in lines), lines
    assert run.config.algorithm.composition.actor_sees_base
    assert run.verdict().base.mean_return > -1e-6


# --- what is an action ---


class Torch:
    """A tensor of PyTorch's whose type NumPy does not know."""

    def __init__(self, values: Any):
        self.values = np.asarray(values)

    def detach(self) -> "Torch":
        return self

    def cpu(self) -> "Torch":
        return self

    def numpy(self) -> np.ndarray:
        raise TypeError("Got unsupported ScalarType BFloat16")

    def float(self) -> Any:
        return SimpleNamespace(numpy=lambda: self.values.astype(np.float32))


def as_bfloat16(values: Any) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(values, jnp.bfloat16)


LIFTS: dict[str, Callable[[float], Any]] = {
    "a number": lambda value: value,
    "numpy number": np.float32,
    "array": lambda value: np.array([value]),
    "column": lambda value: np.array([[value]]),
    "list": lambda value: [value],
    "integer": round,
    "predict": lambda value: (np.array([value]), None),
    "number and nothing": lambda value: (value, None),
    "bfloat16": lambda value: as_bfloat16([value]),
    "tensor of bfloat16": lambda value: Torch([value]),
    "list of tensors": lambda value: [Torch(value)],
}


@pytest.mark.parametrize("lift", LIFTS.values(), ids=LIFTS)
@pytest.mark.parametrize("way", ["plain", "batched", "per_lane"])
def test_one_rule_says_what_an_action_is(lift: Callable[[float], Any], way: str) -> None:
    def law(observation: np.ndarray) -> Any:
        return lift(float(np.sign(observation[0])))

    call: Any = {"plain": law, "batched": batched(law), "per_lane": per_lane(lambda: law)}[way]
    character = character_of(call, ONE, shown(), None)
    actions = propose(Adapted(call, ONE, character), shown(), 1)
    np.testing.assert_array_equal(actions, 0.5 * np.sign(shown()["observation"][:, :1]))


NO_ACTIONS: dict[str, tuple[Any, str]] = {
    "nothing": (None, "returned None instead of an action"),
    "word": ("fast", "returned 'fast' instead of an action"),
    "dict": ({"action": [1.0]}, "returned a dict with the keys 'action' instead of an action"),
    "state": ((np.zeros(1), {"hidden": 1}), r"returned a tuple of ndarray of float64 with shape \(1,\) and a dict.*reset"),
    "lstm": ((np.zeros(1), (np.zeros(4), np.zeros(4))), "returned a tuple of ndarray .* and a tuple .*reset"),
    "complex": (np.zeros(1, complex), r"returned ndarray of complex128 with shape \(1,\) instead of an action"),
    "ragged": ([[1.0], [1.0, 2.0]], "returned a list"),
    "two": (np.zeros(2), r"returned shape \(2,\), \(1,\) is needed|returned shape"),
}


@pytest.mark.parametrize(("answer", "complaint"), NO_ACTIONS.values(), ids=NO_ACTIONS)
@pytest.mark.parametrize("way", ["plain", "batched", "per_lane"])
def test_what_is_no_action_is_named(answer: Any, complaint: str, way: str) -> None:
    def law(observation: np.ndarray) -> Any:
        return answer

    call: Any = {"plain": law, "batched": batched(law), "per_lane": per_lane(lambda: law)}[way]
    adapted = Adapted(call, ONE, Character(way != "plain", False, way == "per_lane", False, False, 0.0))
    with pytest.raises(ControllerError, match=f"controller 'law' .*{complaint}|controller 'law' {complaint}"):
        propose(adapted, shown(), 1)


# --- reset ---


class Reset:
    def bare(self) -> None: ...
    def seeded(self, seed: int | None = None) -> None: ...
    def anything(self, *args: Any, **kwargs: Any) -> None: ...
    def mask(self, mask: np.ndarray) -> None: ...
    def masked(self, mask: np.ndarray, hard: bool = False) -> None: ...
    def lanes(self, dones: np.ndarray) -> None: ...
    def started(self, obs: np.ndarray) -> None: ...
    def placed(self, x0: np.ndarray) -> None: ...
    def initial(self, initial_state: Any) -> None: ...
    def named(self, *, observation: np.ndarray | None = None) -> None: ...
    def optional(self, first_obs: np.ndarray | None = None) -> None: ...


@pytest.mark.parametrize(
    ("name", "is_single"),
    [("bare", True), ("seeded", True), ("anything", True), ("mask", False), ("masked", False), ("lanes", False)]
    + [(name, True) for name in ("started", "placed", "initial", "named", "optional")],
)
def test_a_reset_that_can_be_called_without_arguments_is_of_one_episode(name: str, is_single: bool) -> None:
    assert takes_no_mask(SimpleNamespace(reset=getattr(Reset(), name))) == is_single


class Pid:
    """Of one observation; its reset may be given a seed."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def reset(self, seed: int | None = None) -> None:
        assert seed is None
        self.sum = 0.0

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        self.sum += 0.1
        return 1.0 + 2.0 * self.gain * observation + self.sum


def test_a_reset_with_a_seed_is_called_at_the_start_of_each_episode() -> None:
    result = residual_rl.evaluate(Aim, Pid(), horizon=20, episodes=8, tell=lambda line: None)
    alone = residual_rl.evaluate(Aim, per_lane(Pid), horizon=20, episodes=8, tell=lambda line: None)
    assert isinstance(result, residual_rl.api.Baseline)
    assert isinstance(alone, residual_rl.api.Baseline)
    assert result.base == alone.base


class FromItsStart:
    """Its first answer of an episode is right; then it repeats it. It needs to know where the episode starts."""

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        assert observation.shape == (1,)
        return 1.0 + 2.0 * self.start


class Required(FromItsStart):
    def reset(self, obs: np.ndarray) -> None:
        self.start = np.array(obs)


class Optional(FromItsStart):
    def reset(self, observation: np.ndarray | None = None) -> None:
        self.start = np.zeros(1) if observation is None else np.array(observation)


class ByHand:
    def __call__(self, observation: np.ndarray) -> np.ndarray:
        self.start = observation if self.start is None else self.start
        return 1.0 + 2.0 * self.start

    def reset(self) -> None:
        self.start: Any = None


@pytest.mark.parametrize("kind", [Required, Optional, lambda: per_lane(Required)], ids=["required", "optional", "per lane"])
def test_a_reset_that_takes_an_observation_gets_the_first_one_of_its_episode(kind: Any, tmp_path: Any) -> None:
    told: list[str] = []
    result = residual_rl.evaluate(Aim, kind(), horizon=20, episodes=8, tell=told.append)
    expected = residual_rl.evaluate(Aim, ByHand(), horizon=20, episodes=8, tell=lambda line: None)
    assert isinstance(result, residual_rl.api.Baseline)
    assert isinstance(expected, residual_rl.api.Baseline)
    assert result.base == expected.base
    assert "deterministic, stateful" in "".join(told)


@pytest.mark.parametrize("make", [Pid, lambda: Pid(), partial(Pid, gain=1.0)], ids=["class", "function", "partial"])
def test_what_was_improved_for_each_lane_is_loaded_over_one(make: Any, tmp_path: Any) -> None:
    residual_rl.improve(Aim, per_lane(make), out=tmp_path, **FEW)
    policy, lanes = residual_rl.load(tmp_path, Pid()), residual_rl.load(tmp_path, per_lane(make))
    for _ in range(2):
        policy.reset()
        lanes.reset()
        actions = [policy(np.zeros(1, np.float32)) for _ in range(3)]
        np.testing.assert_array_equal(actions, [lanes(np.zeros(1, np.float32)) for _ in range(3)])
        np.testing.assert_allclose(np.concatenate(actions), [1.1, 1.2, 1.3], rtol=1e-6)


# --- Stable-Baselines3 ---


def test_a_models_normalization_is_applied_and_tells_models_apart() -> None:
    class Normalizer:
        norm_obs = True

        def __init__(self, mean: float) -> None:
            self.obs_rms = SimpleNamespace(mean=np.full(3, mean), var=np.ones(3))

        def normalize_obs(self, observation: np.ndarray) -> np.ndarray:
            return observation - self.obs_rms.mean

    def model(mean: float | None) -> StableBaselinesModel:
        weights = {"actor": SimpleNamespace(detach=lambda: Tensor())}
        normalizer = None if mean is None else Normalizer(mean)
        return StableBaselinesModel(
            SimpleNamespace(
                policy=SimpleNamespace(state_dict=lambda: weights),
                predict=lambda observation, deterministic: (observation[:, :2], None),
                get_vec_normalize_env=lambda: normalizer,
            )
        )

    class Tensor:
        def cpu(self) -> "Tensor":
            return self

        def float(self) -> Any:
            return SimpleNamespace(numpy=lambda: np.ones(2))

    observation = np.ones((4, 3))
    np.testing.assert_array_equal(model(None)(observation), np.ones((4, 2)))
    np.testing.assert_array_equal(model(3.0)(observation), np.full((4, 2), -2.0))
    assert len({model(mean).__name__ for mean in (None, 1.0, 2.0)}) == 3
    assert model(1.0).__name__ == model(1.0).__name__
