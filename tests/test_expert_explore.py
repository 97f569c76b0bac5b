"""Expert-explore: learning from scratch, while in a share of the training steps the controller acts."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from probes import ROBOT, Plane, random_observation, small, used_learner
from probes import acted as residual_of
from tiny import TINY

import residual_rl
from residual_rl.errors import ResidualRLError
from residual_rl.learning import algorithm as learning
from residual_rl.learning.ddpg import DDPG, ResidualAlone
from residual_rl.learning.exploration import greedy
from residual_rl.learning.hindsight import Hindsight
from residual_rl.presets import make_config
from residual_rl.residual import Composition
from residual_rl.runs.reading import read_rows

ROWS = 8_000


def published(**fields):
    fields = {"task": "push", "controller": "reactive-push", "preset": "silver2018", "method": "expert-explore"} | fields
    return make_config(**fields).algorithm


ALGORITHM = small(published())


def acted(algorithm, learner, base_action, explore=True, key=0):
    """Actions in the same observation, `[B, A]`."""
    observation = random_observation(np.random.default_rng(0), ROBOT, 1)
    observation = jax.tree.map(lambda array: np.repeat(array, len(base_action), axis=0), observation)
    roles = greedy(len(base_action))._replace(explore=np.full(len(base_action), explore))
    residual = residual_of(algorithm, learner.current, observation, base_action, jax.random.key(key), roles)
    return algorithm.composition.action(base_action, np.asarray(residual))


def test_it_explores_as_the_paper_has_it():
    algorithm = published()
    assert (algorithm.random_ratio, algorithm.expert_ratio) == (0.6, 0.8)
    assert algorithm.composition.scale == 1.0
    assert isinstance(algorithm.composition, ResidualAlone)
    assert algorithm.burn_in.is_over([])


def test_its_shares_can_be_chosen():
    algorithm = published(**{"algorithm.random_ratio": 0.3, "algorithm.expert_ratio": 0.5})
    assert (algorithm.random_ratio, algorithm.expert_ratio) == (0.3, 0.5)
    algorithm = published(algorithm=DDPG(random_ratio=0.5, expert_ratio=0.9))
    assert (algorithm.random_ratio, algorithm.expert_ratio) == (0.5, 0.9)


def test_the_gated_learner_is_refused_and_the_right_preset_named():
    with pytest.raises(ResidualRLError, match="silver2018"):
        published(preset="default")


@pytest.mark.parametrize(("epsilon", "alpha"), [(0.6, 0.8), (0.5, 0.0)])
def test_expert_random_and_own_steps_have_the_shares_that_the_fields_say(epsilon, alpha):
    """Without noise the actor's own action is always the same; the controller's lies at its bound, others nowhere twice."""
    algorithm = replace(ALGORITHM, random_ratio=epsilon, expert_ratio=alpha, noise=0.0)
    learner = used_learner(algorithm, ROBOT)
    base_action = np.full((ROWS, ROBOT.action_size), 10.0, np.float32)  # an unclipped proposal
    # `own` comes from a batch of one, which adds in another order: float32 keeps 1e-5 of it.
    own = acted(algorithm, learner, base_action[:1], explore=False)
    actions = acted(algorithm, learner, base_action)
    by_expert, by_actor = (actions == 1.0).all(axis=1), np.isclose(actions, own, atol=1e-5).all(axis=1)
    assert not (by_expert & by_actor).any()
    deviation = 4 * np.sqrt(0.25 / ROWS)
    np.testing.assert_allclose(by_expert.mean(), epsilon * alpha, atol=deviation)
    np.testing.assert_allclose(by_actor.mean(), 1 - epsilon, atol=deviation)
    uniform = actions[~by_expert & ~by_actor]
    np.testing.assert_allclose(np.quantile(uniform, (0.25, 0.5, 0.75)), (-0.5, 0.0, 0.5), atol=0.08)


def test_evaluated_it_never_asks_the_expert():
    learner = used_learner(ALGORITHM, ROBOT)
    one, other = (np.full((5, ROBOT.action_size), value, np.float32) for value in (-1.0, 0.3))
    np.testing.assert_array_equal(
        acted(ALGORITHM, learner, one, explore=False), acted(ALGORITHM, learner, other, explore=False, key=1)
    )


def test_a_fresh_policy_does_nothing_whatever_the_base_does():
    learner = learning.init(ALGORITHM, ROBOT, jax.random.key(0))
    base_action = np.ones((5, ROBOT.action_size), np.float32)
    np.testing.assert_array_equal(acted(ALGORITHM, learner, base_action, explore=False), np.zeros_like(base_action))


def test_over_a_base_the_expert_is_the_base_undisturbed():
    algorithm = replace(ALGORITHM, composition=Composition(scale=2.0), random_ratio=1.0, expert_ratio=1.0)
    base_action = np.random.default_rng(0).uniform(-1, 1, (50, ROBOT.action_size)).astype(np.float32)
    np.testing.assert_array_equal(acted(algorithm, used_learner(algorithm, ROBOT), base_action), base_action)


def test_where_the_base_takes_no_part_the_action_is_the_scaled_residual_alone():
    rng, composition = np.random.default_rng(0), ResidualAlone(scale=0.5)
    base_action, residual = rng.uniform(-5, 5, (9, 3)), rng.uniform(-1, 1, (9, 3))
    action = composition.action(base_action, residual)
    np.testing.assert_array_equal(action, 0.5 * residual)
    np.testing.assert_allclose(composition.residual(base_action, action), residual)


def test_it_learns_from_the_expert_what_chance_never_finds():
    """Neither sees a goal relabelled. With the expert three of four training episodes succeed, without it none does."""
    plane = Plane()

    def expert(observation):
        return (5 * (observation["desired_goal"] - observation["achieved_goal"])).clip(-1, 1)

    rates = {}
    for alpha in (0.8, 0.0):
        algorithm = replace(ALGORITHM, expert_ratio=alpha, residual_penalty=0.0)
        learner = plane.learned(
            algorithm, expert, Hindsight(relabel_ratio=0.0), episodes=300, updates=3000, batch_size=128, explore=True
        )
        rates[alpha] = plane.success_rate(algorithm, learner, expert)
    assert rates[0.8] >= 0.8
    assert rates[0.0] <= 0.3


def test_a_run_is_judged_against_the_controller_and_delivers_it_if_nothing_was_learned(tmp_path: Path):
    fields = {name: value for name, value in TINY.items() if name != "algorithm"} | {"steps": 400}
    run = residual_rl.improve("slippery-push", out=tmp_path / "run", preset="silver2018", method="expert-explore", **fields)
    assert run.config.controller == "reactive-push"
    first = read_rows(run.path / "evaluations.csv")[0]
    assert first["deviation"] > 0.0
    assert first["base_success_rate"] > first["success_rate"]
    assert not run.verdict().promoted
    assert not residual_rl.load(run.path).promoted
    assert len(residual_rl.diagnose(run.path).findings) == 11
    with pytest.raises(ResidualRLError, match="takes no part"):
        residual_rl.export(run.path, tmp_path / "bundle")
