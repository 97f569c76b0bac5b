"""Base and policy played in turns: what drifts hits both, what repeats itself is found, and copies count once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from residual_rl.errors import EpisodesLost
from residual_rl.evaluation import Act, roll_out
from residual_rl.pairing.log import MOST_PATHS, MOST_POINTS, Log
from residual_rl.pairing.repeatability import repeatability
from residual_rl.pairing.turns import Turns
from residual_rl.types import Observation, Spec
from residual_rl.verdict import Comparison, compared

STEPS = 4


class Plant:
    """Lanes of a plant that shows where it started, is moved by its action, and ages by every step that it makes.

    `reward(age [E], position [E], noise) -> [E]`; an episode is a success if its last reward is above 0.
    """

    def __init__(
        self,
        lanes: int,
        reward: Callable[..., np.ndarray] = lambda age, position, noise: position,
        start: Callable[[int], float] = lambda seed: float(np.random.default_rng(seed).normal()),
        breaks: bool = False,
        noise_seed: int = 0,
    ):
        self.num_envs, self.horizon = lanes, STEPS
        self.task_spec = Spec(observation_size=1, goal_size=0, action_size=1, horizon=STEPS)
        self.age = np.zeros(lanes)
        self.reward, self.start, self.breaks = reward, start, breaks
        self.noise = np.random.default_rng(noise_seed)

    def _show(self) -> Observation:
        none = np.zeros((self.num_envs, 0))
        return Observation(observation=self.position[:, None].copy(), achieved_goal=none, desired_goal=none)

    def reset(self, *, seed: Sequence[int]) -> tuple[Observation, dict[str, Any]]:
        self.position, self.elapsed = np.array([self.start(one) for one in seed]), 0
        return self._show(), {}

    def step(self, actions: np.ndarray) -> Any:
        if self.breaks and (actions > 0.5).any():
            raise RuntimeError("a fuse blew")
        self.age, self.elapsed = self.age + 1.0, self.elapsed + 1
        self.position = self.position + 0.1 * actions[:, 0]
        reward = np.broadcast_to(self.reward(self.age, self.position, self.noise), self.num_envs).astype(float)
        over, never = np.full(self.num_envs, self.elapsed == STEPS), np.zeros(self.num_envs, dtype=bool)
        return self._show(), reward, never, over, {"is_success": reward > 0.0}

    def close(self) -> None: ...


def doing(residual: float) -> Act:
    """A policy that adds a residual to a base that does nothing."""
    return Act(lambda shown: (np.zeros((len(shown["observation"]), 1)), np.full((len(shown["observation"]), 1), residual)))


def verdict(plant: Plant, policy: Act, episodes: int, measured_by: Any = "return", **how: Any) -> Comparison:
    pairs = Turns(plant, policy).play(range(episodes))
    return compared("plant", "idle", pairs.base, pairs.policy, measured_by, distinct=pairs.distinct, **how)


WARMING = {
    "linear": lambda age, position, noise: 0.01 * age,
    "settling": lambda age, position, noise: -np.exp(-age / 40.0),
    "linear, noisy": lambda age, position, noise: 0.01 * age + 0.1 * noise.normal(size=age.shape),
}


@pytest.mark.parametrize("lanes", [1, 8, 64, 5])
@pytest.mark.parametrize("drift", WARMING)
def test_a_drift_is_counted_for_neither(drift: str, lanes: int) -> None:
    """Played one after the other, the policy would be better with certainty; it moves, but nothing that it does counts."""
    found = verdict(Plant(lanes, WARMING[drift]), doing(0.1), 64)
    assert found.deviates
    assert not found.better
    assert not found.worse
    apart = Plant(lanes, WARMING[drift])
    base, policy = (roll_out(apart, doing(residual), range(64)) for residual in (0.0, 0.1))
    assert compared("plant", "idle", base, policy, "return").better


def test_what_is_equal_in_all_lanes_cancels_whatever_it_is() -> None:
    rewards = np.random.default_rng(0).normal(size=10_000)
    found = verdict(Plant(8, lambda age, position, noise: rewards[age.astype(int)]), doing(0.1), 64)
    assert found.difference == pytest.approx(0.0, abs=1e-12)


def test_a_gain_is_found_in_spite_of_a_drift() -> None:
    found = verdict(Plant(8, lambda age, position, noise: 0.001 * age + position), doing(0.5), 64)
    assert found.better
    assert found.difference == pytest.approx(0.05 * (1 + 2 + 3 + 4))


def test_a_policy_that_never_deviates_is_never_better_and_its_difference_is_the_worlds_noise() -> None:
    for seed in range(20):
        plant = Plant(4, lambda age, position, noise: noise.normal(1.0, 1.0, size=age.shape), noise_seed=seed)
        found = verdict(plant, doing(0.0), 12)
        assert not found.better
        assert not found.worse
        assert found.p_value == 1.0
        assert found.difference_interval[0] <= 0.0 <= found.difference_interval[1]
    assert "the noise of the world itself" in str(found)


def test_in_a_world_that_repeats_itself_turns_change_no_number() -> None:
    pairs = Turns(Plant(8), doing(0.3)).play(range(37))
    for residual, outcome in ((0.0, pairs.base), (0.3, pairs.policy)):
        alone = roll_out(Plant(8), doing(residual), range(37))
        assert all(np.array_equal(one, other, equal_nan=True) for one, other in zip(outcome, alone, strict=True))


@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_the_policy_has_the_first_turn_in_half_of_the_pairs_and_in_no_fixed_order(lanes: int) -> None:
    turns = Turns(Plant(lanes), doing(1.0))
    orders = np.stack([turns._order(lanes) for _ in range(40)])
    assert (orders.sum(axis=0) == 20).all()
    assert (orders[0::2] != orders[1::2]).all()
    assert len({tuple(order.tolist()) for order in orders}) > 1
    again = Turns(Plant(lanes), doing(1.0))
    assert np.array_equal(orders, np.stack([again._order(lanes) for _ in range(40)]))


# ---- starts ----


def test_copies_of_one_episode_are_one_episode_and_promote_nothing() -> None:
    found = verdict(Plant(8, start=lambda seed: 0.5), doing(0.5), 30)
    assert (found.episodes, found.copies) == (1, 29)
    assert found.difference > 0.0
    assert not found.better
    assert "all episodes are the same one" in str(found)


def test_as_many_starts_as_there_are_count() -> None:
    found = verdict(Plant(8, start=lambda seed: float(seed % 7)), doing(0.5), 30)
    assert (found.episodes, found.copies) == (7, 23)
    assert "only 7 episodes are distinct" in str(found)


def test_equal_starts_that_lead_elsewhere_by_chance_are_different_episodes() -> None:
    plant = Plant(8, lambda age, position, noise: noise.normal(size=age.shape), start=lambda seed: 0.5)
    assert verdict(plant, doing(0.5), 30).copies == 0


# ---- the A/A test ----


def test_a_world_that_repeats_itself_is_found_to() -> None:
    found = repeatability(Turns(Plant(8), doing(0.0)).play(range(20)), False)
    assert found.holds
    assert (found.pairing, found.warning) == ("paired", "")


def test_a_world_that_drifts_is_named_with_the_size_of_its_noise() -> None:
    found = repeatability(Turns(Plant(8, lambda age, position, noise: 0.01 * age), doing(0.0)).play(range(16)), False)
    assert not found.holds
    assert (found.differing, found.other_returns) == (16, 16)
    assert found.return_noise == pytest.approx(STEPS * 0.01 * STEPS)
    assert found.pairing == "unpaired"
    assert "the same start and the same actions gave other rewards in 16 of 16 episodes" in found.warning
    assert "differ by 0.16 on average" in found.warning


def test_starts_that_the_seed_does_not_decide_are_said_to_be() -> None:
    chance = np.random.default_rng(0)
    plant = Plant(4, start=lambda seed: float(chance.normal()))
    found = repeatability(Turns(plant, doing(0.0)).play(range(8)), False)
    assert (found.differing, found.other_starts) == (8, 8)
    assert "the same seed (which gave other starts in 8 episodes) and the same actions gave other rewards" in found.warning


def test_a_random_controller_is_not_the_worlds_fault() -> None:
    found = repeatability(Turns(Plant(8, lambda age, position, noise: 0.01 * age), doing(0.0)).play(range(16)), True)
    assert not found.holds
    assert (found.pairing, found.warning) == ("paired", "")


# ---- what breaks ----


@pytest.mark.filterwarnings("ignore:.*episodes broke")
def test_a_policy_that_breaks_the_lanes_of_the_base_is_charged_alone() -> None:
    class Hotter(Plant):
        """Breaks in its second batch alone, so that not everything is lost."""

        def reset(self, *, seed: Sequence[int]) -> tuple[Observation, dict[str, Any]]:
            self.breaks = 4 in seed
            return super().reset(seed=seed)

    pairs = Turns(Hotter(4, lambda age, position, noise: position * 0.0 + 1.0), doing(1.0)).play(range(12))
    assert pairs.base.success.all()
    assert pairs.policy.success.tolist() == [True] * 4 + [False] * 4 + [True] * 4


def test_a_policy_that_breaks_everything_is_an_error() -> None:
    with pytest.raises(EpisodesLost, match="a fuse blew"):
        Turns(Plant(4, breaks=True), doing(1.0)).play(range(8))


# ---- memory ----


def test_what_is_kept_of_long_and_wide_episodes_is_bounded() -> None:
    log = Log(lanes=2, horizon=2000, paths=MOST_PATHS)
    wide = np.zeros((2, 1000), dtype=np.float32)
    none = np.zeros((2, 0))
    for step in range(2001):
        shown = Observation(observation=wide + step, achieved_goal=none, desired_goal=none)
        log(shown, np.zeros(2), np.ones(2, dtype=bool))
    assert log.path(0).shape[0] <= MOST_POINTS
    assert log.path(0).shape[1] <= 256
    assert log.path(0)[0, 0] == 0.0


# ---- how often equally good policies are promoted ----

NOISES: dict[str, Callable[..., np.ndarray]] = {
    "noise": lambda age, position, noise: noise.normal(size=age.shape) - 1.0 * (position > 9),
    "noise and drift": lambda age, position, noise: 0.02 * age + noise.normal(size=age.shape) - 0.5,
    "drift": lambda age, position, noise: 0.02 * age - 0.5,
    "starts": lambda age, position, noise: np.sin(50.0 * position),
}


@pytest.mark.parametrize("pairing", ["paired", "unpaired"])
@pytest.mark.parametrize("measured_by", ["success", "return"])
@pytest.mark.parametrize("world", NOISES)
def test_real_rollouts_of_an_equally_good_policy_promote_in_at_most_one_of_forty(
    world: str, measured_by: Any, pairing: Any
) -> None:
    """The policy moves, and what it does has no effect on what is paid; of 60 verdicts each."""
    promoted = 0
    for number in range(60):
        offset = 1000 * number
        plant = Plant(16, NOISES[world], noise_seed=number)
        pairs = Turns(plant, doing(0.1), number).play(range(offset, offset + 32))
        promoted += compared("plant", "idle", pairs.base, pairs.policy, measured_by, pairing=pairing).better
    assert promoted <= 60 * 0.025 + 3 * np.sqrt(60 * 0.025 * 0.975)
