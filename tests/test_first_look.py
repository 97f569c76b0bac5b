"""A run keeps how its base and its environment began: others of the same name are refused, with the difference."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import TINY
from worlds import BUDGET, Aim

import residual_rl
from residual_rl.controllers import ReactivePush
from residual_rl.errors import ControllerError, RunError
from residual_rl.runs.first_look import FIRST_LOOK, read_first_look, take_first_look
from residual_rl.seeds import Purpose
from residual_rl.tasks import TASKS
from residual_rl.types import Observation

FEW: dict[str, Any] = BUDGET | {"steps": 200, "evaluation_episodes": 4, "verdict_episodes": 4}

SHORT: dict[str, Any] = TINY | {"steps": 400}


class Pd:
    def __init__(self, gain: float, bias: float = 0.0):
        self.gain, self.bias = gain, bias

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        return self.gain * observation + 1.0 + self.bias


class Lag(Pd):
    """Remembers its last answer."""

    def reset(self) -> None:
        self.last = 0.0

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        self.last = self.bias * self.last + self.gain * float(observation[0]) + 1.0
        return np.array([self.last])


class Noisy(Pd):
    def __call__(self, observation: np.ndarray) -> np.ndarray:
        return super().__call__(observation) + np.random.default_rng().normal(0.0, 0.1, np.shape(observation))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "aim"
    residual_rl.improve(Aim, Pd(2.0), out=path, **FEW)
    return path


def test_other_gains_are_refused_by_all_that_takes_a_controller(finished: Path) -> None:
    same, other = Pd(2.0), Pd(2.05)
    residual_rl.load(finished, same)
    residual_rl.reevaluate(finished, same, env=Aim, episodes=2)
    message = (
        r"improves another 'Pd': in step \d+ of its first episode, shown \[.*\], that one proposed \S+ in entry 0 .*, this one"
    )
    with pytest.raises(ControllerError, match=message):
        residual_rl.load(finished, other)
    with pytest.raises(ControllerError, match=message):
        residual_rl.reevaluate(finished, other, env=Aim, episodes=2)
    with pytest.raises(ControllerError, match=message):
        residual_rl.improve(Aim, other, out=finished, **FEW)


class Wind(Aim):
    """Another reward."""

    def step(self, action: np.ndarray) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward - 1.0, terminated, truncated, info


class Tilted(Aim):
    """Other starts."""

    def _show(self) -> np.ndarray:
        return super()._show() * np.float32(0.5)


class Drifts(Aim):
    """Shows something else after the first step."""

    def step(self, action: np.ndarray) -> Any:
        observation, *others = super().step(action)
        return observation * np.float32(0.9), *others


class Short(Aim):
    """Ends early."""

    def step(self, action: np.ndarray) -> Any:
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, True, truncated, info


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (Wind, r"step 0 of its first episode was rewarded with \S+, and now with"),
        (Tilted, "its first episode started with .* in entry 0 of observation, and now"),
        (Drifts, "after 1 steps its first episode showed"),
        (Short, "its first episode lasted .* and now ends after 1"),
    ],
)
def test_another_environment_of_the_same_name_is_refused(kind: type[Aim], complaint: str, finished: Path) -> None:
    other: Any = type("Aim", (kind,), {})
    with pytest.raises(RunError, match=f"written in another 'Aim': {complaint}"):
        residual_rl.reevaluate(finished, Pd(2.0), env=other, episodes=2)
    with pytest.raises(RunError, match=f"written in another 'Aim': {complaint}"):
        residual_rl.improve(other, Pd(2.0), out=finished, **FEW)


@pytest.mark.parametrize("make", [Lag, lambda gain, bias: residual_rl.per_lane(lambda: Lag(gain, bias))])
def test_memories_are_compared_from_the_start_of_an_episode(make: Any, tmp_path: Path) -> None:
    residual_rl.improve(Aim, make(2.0, 0.5), out=tmp_path, **FEW)
    for _ in range(2):
        residual_rl.load(tmp_path, make(2.0, 0.5))
    with pytest.raises(ControllerError, match="improves another 'Lag': in step 1"):
        residual_rl.load(tmp_path, make(2.0, 0.6))


class Planner(Pd):
    """Finds no plan in the third step of the first episode, but in others."""

    def reset(self) -> None:
        self.shown: list[float] = []

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        self.shown.append(float(observation[0]))
        if self.shown[:3] == IN_THE_FIRST_EPISODE:
            raise RuntimeError("infeasible")
        return super().__call__(observation)


def first_observations() -> list[float]:
    env = Aim()
    shown = [env.reset(seed=int(Purpose.PROBE))[0]] + [env.step(np.ones(1, np.float32))[0] for _ in range(2)]
    return [float(one[0]) for one in shown]


IN_THE_FIRST_EPISODE = first_observations()


def test_a_base_that_fails_in_its_first_steps_is_compared_in_those_before(tmp_path: Path) -> None:
    residual_rl.improve(Aim, Planner(2.0), out=tmp_path, **FEW)
    look = read_first_look(tmp_path)
    assert look is not None
    assert look.proposed is not None
    assert len(look.proposed) == 2
    residual_rl.load(tmp_path, Planner(2.0))
    with pytest.raises(ControllerError, match="improves another 'Planner': in step 0"):
        residual_rl.load(tmp_path, Planner(2.1))


def test_over_a_base_that_fails_at_once_the_environment_is_compared_all_the_same() -> None:
    from residual_rl.custom.opened import Opened

    def fails(observation: Observation) -> np.ndarray:
        raise RuntimeError("infeasible")

    look = take_first_look(Opened(Aim, 20).few_lanes(), fails)
    assert look is not None
    assert look.proposed is None
    assert look.reward is not None
    assert not look.action.any()


def test_what_an_environment_does_before_it_fails_is_kept() -> None:
    from residual_rl.custom.opened import Opened

    lanes = Opened(lambda: Aim(fails_at=2), 20).few_lanes()
    look = take_first_look(lanes, lambda observation: np.zeros((len(observation["observation"]), 1)))
    assert look is not None
    assert len(look.action) == 2


def test_what_is_not_reproducible_is_not_compared(tmp_path: Path) -> None:
    residual_rl.improve(Aim, Noisy(2.0), out=tmp_path, **FEW)
    look = read_first_look(tmp_path)
    assert look is not None
    assert look.proposed is None
    assert look.reward is not None
    residual_rl.load(tmp_path, Noisy(3.0))


@pytest.mark.parametrize("seeded", [True, False])
def test_gains_beside_a_generator_of_its_own_are_compared_and_the_generator_is_not(seeded: bool, tmp_path: Path) -> None:
    class Dithered(Pd):
        def __init__(self, gain: float):
            super().__init__(gain)
            self.rng = np.random.default_rng(0 if seeded else None)

        def __call__(self, observation: np.ndarray) -> np.ndarray:
            return super().__call__(observation) + self.rng.normal(0.0, 0.1, np.shape(observation))

    residual_rl.improve(Aim, Dithered(2.0), out=tmp_path, **FEW)
    used = Dithered(2.0)
    for _ in range(3):
        used(np.zeros(1))
    look = read_first_look(tmp_path)
    assert look is not None
    assert look.proposed is None
    residual_rl.load(tmp_path, used)  # its generator has moved on, or another seed began it
    with pytest.raises(ControllerError, match="improves another 'Dithered'"):
        residual_rl.load(tmp_path, Dithered(2.2))


def test_a_world_that_no_seed_decides_is_not_compared() -> None:
    from residual_rl.custom.opened import Opened

    class Unseeded(Aim):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            return super().reset(options=options)

    opened = Opened(Unseeded, 20)
    look = take_first_look(opened.few_lanes(), lambda observation: np.zeros((len(observation["observation"]), 1)))
    assert look is not None
    assert look.reward is None
    assert look.proposed is not None


def test_in_a_task_of_the_library_gains_are_compared_too(tmp_path: Path) -> None:
    def mine(gain: float) -> Any:
        def law(observation: Observation) -> np.ndarray:
            return gain * ReactivePush()(observation)

        return law

    residual_rl.improve("push", mine(1.0), out=tmp_path, **SHORT)
    residual_rl.load(tmp_path, mine(1.0))
    with pytest.raises(ControllerError, match="improves another 'law'"):
        residual_rl.load(tmp_path, mine(0.9))
    with pytest.raises(ControllerError, match="improves another 'law'"):
        residual_rl.reevaluate(tmp_path, mine(0.9), episodes=2)
    assert TASKS["push"].name == "push"


def test_a_first_look_that_was_altered_is_found_out(finished: Path, tmp_path: Path) -> None:
    for file in finished.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    content = bytearray((tmp_path / FIRST_LOOK).read_bytes())
    content[-1] ^= 1
    (tmp_path / FIRST_LOOK).write_bytes(content)
    with pytest.raises(RunError, match="what it holds is not what was saved"):
        residual_rl.load(tmp_path, Pd(2.0))
