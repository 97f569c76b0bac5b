"""What the first episodes in a user-supplied environment show, and what is pointed out then."""

import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces, wrappers
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from worlds import BUDGET, Aim

import residual_rl
from residual_rl.controllers.resolve import resolve
from residual_rl.custom.first_episodes import disturbed
from residual_rl.custom.inspection import look
from residual_rl.custom.opened import LONGEST, Opened
from residual_rl.custom.success import Judge
from residual_rl.errors import ResidualRLError, RunError, WorldError
from residual_rl.residual import Composition
from residual_rl.runs.reading import read_environment
from residual_rl.seeds import LARGEST_SEED, Purpose, seed_32, training_seed


class Clock(gymnasium.Env):
    """Shows where a dial is; each action turns it. Ends as its arguments say."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(
        self, steps: tuple[int, ...] = (10,), terminated: bool = False, successes: tuple[int, ...] | None = None
    ) -> None:
        self.steps, self.terminated, self.successes = steps, terminated, successes
        self.seeds: list[int | None] = []
        self.limit = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.dial, self.elapsed = self.np_random.uniform(-1.0, 1.0, 1), 0
        self.limit = self.steps[len(self.seeds) % len(self.steps)]
        return self.dial.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.dial = self.dial + 0.1 * action
        self.elapsed += 1
        over = self.elapsed >= self.limit
        info = {} if self.successes is None else {"is_success": self.elapsed in self.successes}
        return self.dial.copy(), -float(self.dial[0] ** 2), over and self.terminated, over and not self.terminated, info


def still(shown: np.ndarray) -> np.ndarray:
    return np.zeros_like(shown)


def found(env: Any, horizon: int | None = None, **arguments: Any) -> tuple[Any, str]:
    lines: list[str] = []
    with closing(Opened(env, horizon)) as opened:
        return look(opened, still, lines.append, **arguments), "\n".join(lines)


# --- time limits ---


def test_a_time_limit_that_nobody_tells_of_is_found() -> None:
    about, lines = found(lambda: Clock((12,)))
    assert about.horizon == about.spec.horizon == 12
    assert "Clock: no time limit is given; its first episodes show one of 12 steps" in lines
    about, lines = found(SyncVectorEnv([lambda: Clock((12,))] * 3))
    assert about.horizon == 12
    about, lines = found(lambda: Clock((12, 30)))
    assert about.horizon == 30
    assert "30 steps, the longest of those that it truncated" in lines
    assert found(lambda: Clock((12,)), horizon=7)[0].horizon == 7


@pytest.mark.parametrize(
    ("env", "why"),
    [
        (lambda: Clock((LONGEST + 1,)), rf"had not ended after {LONGEST:,} steps"),
        (lambda: Clock((4, 9), terminated=True), r"ended with `terminated` after 4, 4, 9, 9 steps"),
    ],
)
def test_episodes_that_show_no_time_limit_need_one(env: Any, why: str) -> None:
    with pytest.raises(ResidualRLError, match=rf"Clock has no time limit \(.*{why}\).*pass horizon="):
        found(env)


def test_a_run_goes_on_with_the_time_limit_that_was_found(tmp_path: Path) -> None:
    few: dict[str, Any] = BUDGET | {"steps": 200, "horizon": None, "evaluation_episodes": 4, "verdict_episodes": 4}
    for _ in range(2):
        residual_rl.improve(Clock, still, out=tmp_path, **few)
    assert read_environment(tmp_path)["horizon"] == 10
    residual_rl.reevaluate(tmp_path, still, env=Clock, episodes=2)


def test_terminated_at_a_time_limit_is_pointed_out() -> None:
    about, lines = found(lambda: Clock((12,), terminated=True))
    assert about.horizon == 12
    assert "every first episode ended with `terminated` at step 12. If that is a time limit, return `truncated`" in lines
    for other in (Clock((12,)), Clock((12, 13), terminated=True)):
        assert "`terminated`" not in found(other, horizon=20)[1]


# --- success ---


def test_rules_of_success() -> None:
    reported = np.array([[0, 1, 0, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=bool)
    never = np.zeros(4, dtype=bool)
    for rule, expected in {
        "last": [False, False, False, True],
        "once": [True, True, False, True],
        "held:2": [True, True, False, False],
        "held:3": [False, False, False, False],
    }.items():
        judge = Judge(rule, 4)
        for _ in range(2):  # a new episode forgets the last one
            judge.reset()
            success = [judge.after(step, never).tolist() for step in reported]
            assert success[-1] == expected, rule
            assert judge.last.tolist() == [False, False, False, True]
            assert judge.once.tolist() == [True, True, False, True]


def test_steps_after_the_end_of_an_episode_hold_nothing() -> None:
    judge = Judge("held:2", 1)
    judge.after(np.array([True]), np.array([False]))
    for _ in range(5):
        assert not judge.after(np.array([True]), np.array([True]))[0]


@pytest.mark.parametrize("vector", [False, True])
def test_success_that_does_not_last_is_pointed_out_and_judged_as_one_likes(vector: bool) -> None:
    def make() -> Clock:
        return Clock((10,), successes=(4, 5, 6))

    env = SyncVectorEnv([make] * 2) if vector else make
    rates = {}
    for rule in ("last", "once", "held:3", "held:4"):
        lines: list[str] = []
        evaluated = residual_rl.evaluate(env, still, episodes=4, horizon=20, success=rule, tell=lines.append)
        rates[rule] = evaluated.base.success_rate
        assert any("0 are a success at the last step, 8 at some step" in line or "0 are a success" in line for line in lines)
        assert any(f'success="{rule}" decides' in line for line in lines)
    assert rates == {"last": 0.0, "once": 1.0, "held:3": 1.0, "held:4": 0.0}


def test_success_that_lasts_is_not_talked_about() -> None:
    assert "success" not in found(lambda: Clock((10,), successes=tuple(range(4, 11))))[1]


def test_the_rule_of_success_is_kept_in_the_run(tmp_path: Path) -> None:
    few: dict[str, Any] = BUDGET | {"steps": 200, "evaluation_episodes": 4, "verdict_episodes": 4}

    def make() -> Clock:
        return Clock((10,), successes=(4,))

    run = residual_rl.improve(make, still, out=tmp_path, success="once", **few)
    assert run.verdict().base.success_rate == 1.0
    assert read_environment(tmp_path)["success"] == "once"
    assert residual_rl.reevaluate(tmp_path, still, env=make, episodes=2).base.success_rate == 1.0
    with pytest.raises(RunError, match="its rule of success was once, not last"):
        residual_rl.improve(make, still, out=tmp_path, **few)


@pytest.mark.parametrize("rule", ["ever", "held:0", "held:", "held:1.5", "held:²", "", None, 3])
def test_a_rule_of_success_that_is_none_is_refused(rule: Any) -> None:
    with pytest.raises(ResidualRLError, match=r"success is .*must be"):
        residual_rl.improve(Clock, still, success=rule, steps=10)


def test_tasks_of_the_library_have_their_own_rule() -> None:
    with pytest.raises(ResidualRLError, match="success and processes are for environments of your own"):
        residual_rl.evaluate("push", success="once", episodes=1)


# --- seeds ---


def test_seeds_fit_simulators_of_32_bits_and_evaluations_keep_theirs() -> None:
    for seed in (0, Purpose.PROBE, Purpose.TRAINING, training_seed(200, 9)):
        assert seed_32(seed) == seed
    large = np.random.default_rng(0).integers(2**31, training_seed(2**32 - 1, 10**7 - 1), 1000)
    folded = [seed_32(int(seed)) for seed in large]
    assert all(Purpose.TRAINING <= seed < LARGEST_SEED - 100_000 for seed in folded)
    assert len(set(folded)) == 1000


@pytest.mark.parametrize("vector", [False, True])
def test_an_environment_is_given_seeds_of_32_bits(tmp_path: Path, vector: bool) -> None:
    envs = [Clock() for _ in range(2)]
    few: dict[str, Any] = {"steps": 20, "evaluation_episodes": 2, "verdict_episodes": 2, "episodes_per_cycle": 2}
    waiting = iter(envs)
    env = SyncVectorEnv([lambda each=each: each for each in envs]) if vector else lambda: next(waiting)
    residual_rl.improve(env, still, out=tmp_path, seed=4_000_000_000, **BUDGET | few)
    seeds = [seed for each in envs for seed in each.seeds if seed is not None]
    assert max(seeds) >= Purpose.TRAINING
    assert all(0 <= seed <= LARGEST_SEED for seed in seeds)


# --- what cannot be right ---


class Forgetful(SyncVectorEnv):
    """Resets within the step, and keeps the last observation of an episode to itself."""

    def step(self, actions: Any) -> Any:
        *stepped, info = super().step(actions)
        return *stepped, {key: value for key, value in info.items() if not key.endswith("final_obs")}


def test_a_vector_environment_that_hides_how_episodes_end_is_refused() -> None:
    for kind, mode in ((Forgetful, AutoresetMode.NEXT_STEP), (SyncVectorEnv, AutoresetMode.SAME_STEP)):
        found(kind([Clock] * 2, autoreset_mode=mode), horizon=20)
    with pytest.raises(WorldError, match=r"SAME_STEP, but info holds no 'final_obs'.*NEXT_STEP or DISABLED"):
        found(Forgetful([Clock] * 2, autoreset_mode=AutoresetMode.SAME_STEP), horizon=20)


class Broken(Aim):
    """Shows something that is not finite, in the second step of an episode or at once."""

    observation_space = spaces.Dict(  # type: ignore[assignment]
        {"arm": spaces.Dict({"joints": spaces.Box(-9, 9, (2, 2), np.float64)}), "number": spaces.Box(-9, 9, (), np.float64)}
    )

    def __init__(self, where: str, value: float) -> None:
        super().__init__()
        self.where, self.value = where, value

    def _shown(self, spoilt: bool) -> Any:
        joints, number = np.zeros((2, 2)), np.zeros(())
        if spoilt and self.where == "joints":
            joints[1, 0] = self.value
        if spoilt and self.where == "number":
            number[...] = self.value
        return {"arm": {"joints": joints}, "number": number}

    def reset(self, **arguments: Any) -> Any:
        super().reset(**arguments)
        self.elapsed = 0
        return self._shown(self.where == "number"), {}

    def step(self, action: Any) -> Any:
        _, reward, *others = super().step(action)
        self.elapsed += 1
        spoilt = self.elapsed == 2
        return self._shown(spoilt), self.value if spoilt and self.where == "reward" else reward, *others


@pytest.mark.parametrize(
    ("where", "value", "named"),
    [
        ("joints", np.nan, r"step 1, arm/joints\[1, 0\] is nan"),
        ("joints", -1e39, r"step 1, arm/joints\[1, 0\] is -1e\+39"),
        ("reward", np.inf, "step 1, reward is inf"),
        ("number", np.nan, "what reset shows is not finite: number is nan"),
    ],
)
def test_what_is_not_finite_is_named_with_its_step_and_value(where: str, value: float, named: str) -> None:
    with closing(Opened(lambda: Broken(where, value), 20)) as opened, pytest.raises(WorldError, match=named):
        look(opened, lambda shown: np.ones(1), lambda line: None)


def test_in_training_the_environments_own_number_is_named(tmp_path: Path) -> None:
    class Late(Clock):
        def step(self, action: Any) -> Any:
            shown, *others = super().step(action)
            return (shown * np.nan if self.seeds[-1] == Purpose.SELECTION and self.elapsed == 3 else 1e7 + shown), *others

        def reset(self, **arguments: Any) -> Any:
            shown, info = super().reset(**arguments)
            return 1e7 + shown, info

    few: dict[str, Any] = {"steps": 20, "evaluation_episodes": 2, "verdict_episodes": 2, "episodes_per_cycle": 2}
    with pytest.warns(RuntimeWarning, match=r"2 of 4 episodes broke .*not finite: step 2, observation\[0\] is nan"):
        residual_rl.improve(Late, still, out=tmp_path, **BUDGET | few)


@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (lambda: wrappers.NormalizeObservation(Clock()), "NormalizeObservation"),
        (lambda: wrappers.OrderEnforcing(wrappers.NormalizeReward(Clock())), "NormalizeReward"),
        (wrappers.vector.NormalizeObservation(SyncVectorEnv([Clock] * 2)), "NormalizeObservation"),
    ],
)
def test_wrappers_that_go_on_learning_are_named(wrap: Any, name: str) -> None:
    assert f"{name} changes its statistics with every step" in found(wrap, horizon=20)[1]


def test_a_wrapper_whose_statistics_stay_is_not() -> None:
    env = wrappers.NormalizeObservation(Clock())
    env.update_running_mean = False
    assert "statistics" not in found(env, horizon=20)[1]


class Wrapped(gymnasium.Wrapper):
    """A wrapper that makes what it wraps."""

    def __init__(self) -> None:
        super().__init__(Clock())


def test_a_class_makes_environments_like_a_function() -> None:
    for make in (Clock, Wrapped):
        with closing(Opened(make)) as opened:
            assert opened.name == "Clock"
            assert opened.fixed_lanes is None
            opened.task(look(opened, still, lambda line: None), 3)


class Several(Clock):
    """Steps several worlds at once, as simulators on a GPU do."""

    def __init__(self, number: int, told: bool) -> None:
        super().__init__()
        self.number = number
        if told:
            self.num_envs = number

    def reset(self, **arguments: Any) -> Any:
        shown, info = super().reset(**arguments)
        return np.tile(shown, (self.number, 1)), info


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("way", [lambda env: env, lambda env: lambda: env])
def test_several_worlds_in_one_environment_point_to_their_vector_wrapper(told: bool, way: Any) -> None:
    with pytest.raises(ResidualRLError, match="vector wrapper"):
        found(way(Several(4, told)), horizon=20)


def test_a_function_that_makes_a_vector_environment_is_told_to_pass_it() -> None:
    def make() -> VectorEnv:
        return SyncVectorEnv([Clock] * 2)

    with pytest.raises(ResidualRLError, match="make made a vector environment, SyncVectorEnv: pass it itself"):
        Opened(make)  # type: ignore[arg-type]


def test_processes_without_a_guard_say_what_is_missing(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import residual_rl
        residual_rl.improve("Pendulum-v1", lambda shown: 0 * shown[..., :1], steps=400, out="run", processes=True, horizon=5,
            evaluation_episodes=2, verdict_episodes=2, episodes_per_cycle=2)
        """)
    )
    ended = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert "WorldError: a process of the environments has ended" in last
    assert 'must stand below `if __name__ == "__main__":`' in last


# --- disturbed episodes ---


def test_the_first_look_disturbs_the_base_only_if_something_will_be_learned() -> None:
    moved = []

    class Watched(Clock):
        def step(self, action: np.ndarray) -> Any:
            moved.append(float(action[0]))
            return super().step(action)

    found(Watched)
    assert set(moved) == {0.0}
    found(Watched, composition=Composition(scale=0.25))
    assert 0.02 < np.mean(np.array(moved) != 0.0) < 0.2
    assert 0.1 < np.abs(moved).max() <= 0.25


def test_a_base_that_cannot_stand_noise_is_looked_at_without() -> None:
    def on_its_path(shown: np.ndarray) -> np.ndarray:
        if np.abs(shown).max() > 1.0:
            raise ValueError("off the path")
        return np.zeros_like(shown)

    class Wide(Clock):
        action_space = spaces.Box(-100.0, 100.0, (1,), np.float32)

    lines: list[str] = []
    with closing(Opened(Wide)) as opened:
        about = look(opened, on_its_path, lines.append, composition=Composition())
        base = resolve(on_its_path, opened.spec).fitted(opened.layout, about.character).controller
        assert disturbed(opened.few_lanes(), base, Composition()) == []
