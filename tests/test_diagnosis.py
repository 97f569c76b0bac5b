"""What a look at a run's learning finds: each warning where it must appear, and not where it must not."""

from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import pytest
from bundles import made_verdict
from probes import SMALL, Plane, Track, observation_of, used_learner
from pydantic import TypeAdapter

from residual_rl.config import Config
from residual_rl.diagnosis.diagnosis import Diagnosis
from residual_rl.diagnosis.evidence import Evidence, gather_evidence
from residual_rl.diagnosis.findings import find_causes
from residual_rl.diagnosis.gains import SameStarts, headroom, with_verdict
from residual_rl.learning import algorithm as learning
from residual_rl.learning.actors import Actor
from residual_rl.learning.hindsight import Hindsight
from residual_rl.learning.replay import Replay, example_transition
from residual_rl.types import Spec, Transition

PLANE = Plane()
GATED = replace(SMALL["gated-ddpg"], actors=(Actor(cautions=(0.0,)),))
CONFIG = Config(task="plane", controller="homing", algorithm=GATED)
EVALUATED = [{"base_success_rate": 0.5, "base_mean_return": -6.0, "success_rate": 0.6, "mean_return": -5.0}]
METRICS = [{"acting_success_rate": 0.4, "acting_mean_return": -6.0, "burn_in": 0}] * 3
EPISODES = 40


def homing(observation):
    """Half of the way to the goal, and no further: it misses."""
    return 2.0 * (0.7 * observation["desired_goal"] - observation["observation"])


def pushing(observation):
    """At its bound, whatever it sees."""
    return np.ones((len(observation["observation"]), 2))


def drifting(observation):
    """Never looks at anything."""
    return np.full((len(observation["observation"]), 2), 0.2)


def at_random(observation, base_action, step):
    """A residual in every second lane."""
    drawn = np.random.default_rng(step).uniform(-1, 1, base_action.shape)
    return np.where(np.arange(len(base_action))[:, None] % 2 == 0, drawn, 0.0)


def replay_of(controller, algorithm=GATED, act=at_random):
    replay = Replay(example_transition(PLANE.spec), 1000)
    for episode in PLANE.episodes(controller, algorithm.composition, act, EPISODES, seed=0):
        replay.add_episode(episode)
    return replay


def evidence_of(controller=homing, learner=None, algorithm=GATED, act=at_random) -> Evidence:
    networks = (learner or used_learner(algorithm, PLANE.spec)).current

    def base(observation):
        return algorithm.composition.base_action(controller(observation))

    evidence = gather_evidence(algorithm, networks, replay_of(controller, algorithm, act), PLANE.spec, PLANE.success, base)
    assert evidence is not None
    return evidence


def findings(evidence, config=CONFIG, evaluations=EVALUATED, metrics=METRICS):
    return {finding.name: finding for finding in find_causes(config, 400, evidence, evaluations, metrics).findings}


def standing(name, evidence, **about):
    return findings(evidence, **about)[name].standing


def deaf_to(learner, columns):
    """The same learner, whose critics ignore these of their inputs: observation 0-1, goal 2-3, way to it 4-5, action 6-7."""
    weight = learner.critics.layers[0].weight.at[..., columns].set(0.0)
    return learner._replace(critics=eqx.tree_at(lambda critics: critics.layers[0].weight, learner.critics, weight))


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return evidence_of()


@pytest.fixture(scope="module")
def learner():
    return used_learner(GATED, PLANE.spec)


# ---- the evidence ----


def test_the_latest_episodes_are_whole_and_in_order():
    replay = Replay(example_transition(PLANE.spec), 35)  # three and a half episodes
    for episode in PLANE.episodes(homing, GATED.composition, at_random, 5, seed=0):
        replay.add_episode(episode)
    assert [numbers.tolist() for numbers in replay.latest_episodes(9)] == [list(range(a, a + 10)) for a in (20, 30, 40)]
    assert [numbers[0] for numbers in replay.latest_episodes(2)] == [30, 40]
    assert Replay(example_transition(PLANE.spec), 35).latest_episodes(9) == []


def test_before_the_first_episode_there_is_nothing_to_find():
    learner, replay = learning.init(GATED, PLANE.spec, jax.random.key(0)), Replay(example_transition(PLANE.spec), 100)
    assert gather_evidence(GATED, learner.current, replay, PLANE.spec, PLANE.success, None) is None
    assert find_causes(CONFIG, 0, None, [], []).findings == ()


def test_success_and_returns_are_those_of_the_episodes(evidence):
    episodes = PLANE.episodes(homing, GATED.composition, at_random, EPISODES, seed=0)
    np.testing.assert_array_equal(evidence.success, [episode.reward[-1] == 0.0 for episode in episodes])
    np.testing.assert_allclose(evidence.returns, [episode.reward.sum() for episode in episodes])
    assert 0 < np.mean(evidence.success) < 1


def line_of_three(terminated: bool) -> Replay:
    """An episode of rewards 1, 2, 4 in a world without goals, discount 3/4."""
    nothing = np.zeros((3, 0), np.float32)
    at = observation_of(np.zeros((3, 1), np.float32), nothing, nothing)
    zero, no = np.zeros((3, 1), np.float32), np.zeros(3, dtype=bool)
    last = np.arange(3) == 2
    reward = np.array([1.0, 2.0, 4.0], np.float32)
    replay = Replay(example_transition(LINE), 10)
    ended, cut = last & terminated, last & (not terminated) | no
    discount = np.where(ended, 0.0, LINE.discount)
    replay.add_episode(Transition(at, zero, zero, zero, reward, ended, cut, discount, at, zero))
    return replay


LINE = Spec(observation_size=1, goal_size=0, action_size=1, horizon=4)


@pytest.mark.parametrize("terminated", [True, False])
def test_beyond_a_time_limit_the_critics_own_value_follows_and_beyond_an_end_nothing(terminated):
    learner = used_learner(GATED, LINE)
    found = gather_evidence(GATED, learner.current, line_of_three(terminated), LINE, Track.success, None)
    assert found is not None
    value = 0.0 if terminated else max(found.advantage[0], 0.0) + found.predicted[0]  # of what the policy does there
    followed = np.array([1 + 2 * 0.75 + 4 * 0.75**2, 2 + 4 * 0.75, 4.0]) + value * np.array([0.75**3, 0.75**2, 0.75])
    np.testing.assert_allclose(found.followed, followed, rtol=1e-5)


# ---- what it means ----


def test_critics_that_ignore_the_action_are_warned_of(evidence, learner):
    assert findings(evidence)["action"].numbers["ratio"] > 0.1
    assert findings(evidence_of(learner=deaf_to(learner, [6, 7])))["action"].numbers["ratio"] == 0.0
    assert standing("action", evidence_of(learner=deaf_to(learner, [6, 7]))) == "warning"


def test_a_goal_that_critics_do_not_see_is_warned_of(evidence, learner):
    assert standing("goal", evidence) == "sound"
    found = findings(evidence_of(learner=deaf_to(learner, [2, 3, 4, 5])))["goal"]
    assert found.standing == "warning"
    assert found.numbers["base"] == 1.0


def test_whether_the_base_sees_the_goal_is_said():
    assert findings(evidence_of(drifting))["goal"].numbers["base"] == 0.0


def test_without_goals_nobody_asks_for_them():
    learner = used_learner(GATED, LINE)
    found = gather_evidence(GATED, learner.current, line_of_three(True), LINE, Track.success, None)
    about = findings(found, config=replace(CONFIG, measured_by="return"))
    assert about["goal"].standing == "unknown"
    assert about["reward"].standing == "unknown"
    assert all(np.isfinite(list(finding.numbers.values())).all() for finding in about.values())


def test_a_controller_at_its_bound_clips_the_sum(evidence):
    assert standing("clipping", evidence) == "sound"
    found = findings(evidence_of(pushing))["clipping"]
    assert found.standing == "warning"
    assert found.numbers["base_at_bound"] == 1.0
    assert found.numbers["clipped"] == pytest.approx(0.5, abs=0.1)  # of a symmetric residual


def test_a_replay_of_failures_alone_is_warned_of_unless_hindsight_has_something_to_say(evidence):
    without = replace(CONFIG, hindsight=Hindsight(relabel_ratio=0.0))
    failures = evidence._replace(success=np.zeros(EPISODES, dtype=bool))
    still = failures._replace(moved=np.zeros(EPISODES, dtype=bool))
    assert standing("outcomes", evidence, config=without) == "sound"
    assert standing("outcomes", failures, config=without) == "warning"
    assert standing("outcomes", failures) == "sound"
    assert standing("outcomes", still) == "warning"
    assert standing("outcomes", evidence._replace(success=np.ones(EPISODES, dtype=bool))) == "warning"


def test_a_world_without_goals_is_judged_by_the_successes_of_its_metrics(evidence):
    goal_free = evidence._replace(success=None, moved=None, goal_values=None)
    rows = [{"acting_success_rate": rate, "acting_mean_return": rate, "burn_in": 0} for rate in (0.0, 0.5, float("nan"))]
    assert standing("outcomes", goal_free, metrics=rows) == "sound"
    assert standing("outcomes", goal_free, metrics=rows[:1]) == "warning"
    assert standing("reward", goal_free, metrics=rows) == "sound"
    against = [row | {"acting_mean_return": -row["acting_success_rate"]} for row in rows]
    assert standing("reward", goal_free, metrics=against) == "warning"
    assert standing("reward", goal_free, metrics=[*against * 100, *rows * 50]) == "sound"  # what was long ago does not count


def test_a_reward_that_is_not_the_success_is_warned_of(evidence):
    assert standing("reward", evidence) == "sound"
    against = evidence._replace(rows=evidence.rows._replace(reward=-evidence.rows.reward))
    assert standing("reward", against) == "warning"
    constant = evidence._replace(rows=evidence.rows._replace(reward=np.zeros_like(evidence.rows.reward)))
    alone = replace(CONFIG, hindsight=Hindsight(relabel_ratio=0.0))
    assert standing("reward", constant, config=alone) == "warning"
    assert standing("reward", constant) == "unknown"
    for one in (-1.0, -0.1, 0.3):  # of most numbers float32's deviation is not exactly 0
        rows = evidence.rows._replace(reward=np.full_like(evidence.rows.reward, one))
        assert standing("reward", evidence._replace(rows=rows), config=alone) == "warning"


def test_a_constant_reward_teaches_where_episodes_end_early(evidence):
    """As where every step costs one until the goal is reached."""
    ends = np.append(np.diff(evidence.starts), len(evidence.rows.reward) - evidence.starts[-1]) + evidence.starts - 1
    terminated = np.zeros(len(evidence.rows.reward), dtype=bool)
    terminated[ends] = True
    rows = evidence.rows._replace(reward=np.full_like(evidence.rows.reward, -1.0), terminated=terminated)
    by_return = replace(CONFIG, hindsight=Hindsight(relabel_ratio=0.0), measured_by="return")
    assert standing("reward", evidence._replace(rows=rows), config=by_return) == "unknown"


def test_a_base_without_headroom_and_a_task_that_nobody_solves_are_warned_of(evidence):
    def headroom(base, ever):
        evaluated = [EVALUATED[0] | {"base_success_rate": base}]
        return standing("headroom", evidence, evaluations=evaluated, metrics=[METRICS[0] | {"acting_success_rate": ever}])

    assert [headroom(0.5, 0.6), headroom(0.0, 0.1), headroom(0.5, 0.0)] == ["sound"] * 3
    assert [headroom(0.99, 0.9), headroom(0.0, 0.0), headroom(0.0, float("nan"))] == ["warning"] * 3
    assert standing("headroom", evidence, evaluations=[]) == "unknown"


def test_headroom_in_returns_is_that_exploration_earns_more_than_the_base_from_the_same_start():
    """A lucky start is no headroom: the first episode earns most, and still less than the base does there."""
    explored, config = np.array([9.0, 1.0, 2.0]), replace(CONFIG, measured_by="return")
    worse = headroom(config, EVALUATED, 0.0, SameStarts(explored, np.array([9.5, 1.0, 3.0])))
    assert worse.standing == "warning"
    assert "--set algorithm.composition.scale=0.5`" in worse.meaning
    better = headroom(config, EVALUATED, 0.0, SameStarts(explored, np.array([9.5, 0.5, 3.0])))
    assert better.standing == "sound"
    assert (better.numbers["better"], better.numbers["starts"], better.numbers["most"]) == (1, 3, 0.5)
    assert headroom(config, EVALUATED, 0.0, None).standing == "unknown"


def test_failures_that_exploration_never_solves_are_warned_of():
    base = np.array([0.0] * 6 + [1.0] * 4)
    never, once = np.array([0.0] * 6 + [1.0] * 4), np.array([1.0] + [0.0] * 9)
    assert headroom(CONFIG, EVALUATED, 0.4, SameStarts(never, base)).standing == "warning"
    assert headroom(CONFIG, EVALUATED, 0.6, SameStarts(never, base)).standing == "sound"  # another cycle was better
    solved = headroom(CONFIG, EVALUATED, 0.4, SameStarts(once, base))
    assert (solved.standing, solved.numbers["failures"], solved.numbers["solved"]) == ("sound", 6, 1)


def test_a_run_that_gained_nothing_is_never_sound_throughout(evidence):
    corrects = evidence._replace(residual=np.full_like(evidence.residual, 0.05), advantage=np.ones_like(evidence.advantage))
    nothing = [EVALUATED[0] | {"success_rate": 0.5}, EVALUATED[0] | {"success_rate": 0.4}]
    assert standing("gain", corrects) == "sound"
    about = findings(corrects, evaluations=nothing)
    assert about["gain"].standing == "warning"
    assert "--steps 200000" in about["gain"].meaning


def test_the_verdict_decides_whether_anything_was_gained(evidence):
    diagnosis = find_causes(CONFIG, 400, evidence, EVALUATED, METRICS)
    for promoted, standing in ((True, "sound"), (False, "warning")):
        decided = with_verdict(diagnosis, CONFIG, made_verdict(promoted)).findings[0]
        assert (decided.name, decided.standing) == ("gain", standing)
        assert str(made_verdict(promoted)) in decided.measured


def test_a_critic_that_is_flat_in_the_action_is_warned_of(evidence):
    """Whatever one critic says of an action, another one says the opposite."""
    effect = evidence.residual_values.std(axis=1).mean()
    agreed, doubtful = (evidence._replace(disagreement=np.full_like(evidence.disagreement, k * effect)) for k in (0.5, 1.5))
    assert standing("action", agreed) == "sound"
    found = findings(doubtful)["action"]
    assert found.standing == "warning"
    assert "flat in the action" in found.meaning


def test_another_scale_comes_with_the_line_to_type(evidence):
    overrides = evidence._replace(residual=np.where(evidence.rows.base_action > 0, -1.0, 1.0))
    line = '`--set algorithm.composition.scale=0.5`, in Python `improve(..., **{"algorithm.composition.scale": 0.5})`'
    assert line in findings(overrides)["size"].meaning


def test_values_that_are_not_what_follows_are_warned_of(evidence):
    followed, spread = evidence.followed, evidence.followed[evidence.early].std()
    assert standing("value", evidence._replace(predicted=followed + 0.5 * spread)) == "sound"
    optimist, pessimist = (evidence._replace(predicted=followed + sign * 1.5 * spread) for sign in (1, -1))
    assert "overestimate" in findings(optimist)["value"].meaning
    assert "underestimate" in findings(pessimist)["value"].meaning
    shuffled = evidence._replace(predicted=np.random.default_rng(0).permutation(followed))
    for wrong in (optimist, pessimist, shuffled, evidence._replace(predicted=np.zeros_like(followed))):
        assert standing("value", wrong) == "warning"
    assert standing("value", evidence._replace(followed=np.zeros_like(followed))) == "unknown"


def test_a_policy_that_is_the_base_is_warned_of_and_so_is_one_that_overrides_it(evidence):
    fresh = evidence_of(learner=learning.init(GATED, PLANE.spec, jax.random.key(0)))
    assert standing("preference", fresh) == "warning"
    assert standing("size", fresh) == "warning"
    corrects = evidence._replace(residual=np.full_like(evidence.residual, 0.05), advantage=np.ones_like(evidence.advantage))
    assert standing("preference", corrects) == "sound"
    assert standing("size", corrects) == "sound"
    assert standing("preference", corrects._replace(advantage=-corrects.advantage)) == "warning"
    overrides = evidence._replace(residual=np.where(evidence.rows.base_action > 0, -1.0, 1.0))
    assert standing("size", overrides) == "warning"


def test_an_actor_that_is_still_frozen_is_why_nothing_acts():
    fresh = evidence_of(learner=learning.init(GATED, PLANE.spec, jax.random.key(0)))
    burning = [METRICS[0] | {"burn_in": 1}]
    assert "burn-in" in findings(fresh, metrics=burning)["preference"].meaning
    assert "burn-in" not in findings(fresh)["preference"].meaning


def test_a_controller_that_undoes_what_the_residual_did_is_warned_of():
    def deadbeat(observation):
        """Back to the middle of the way within a step: a step is 0.15 of the action."""
        return ((0.1 * observation["desired_goal"] - observation["observation"]) / 0.15).clip(-1, 1)

    def small(observation, base_action, step):
        return 0.5 * at_random(observation, base_action, step)

    found = findings(evidence_of(deadbeat, act=small))["controller"]
    assert found.standing == "warning"
    assert found.numbers["taken_back"] == pytest.approx(1.0, abs=0.1)
    found = findings(evidence_of(drifting, act=small))["controller"]
    assert found.standing == "sound"
    assert found.numbers["taken_back"] == pytest.approx(0.0, abs=0.01)


def test_a_gain_is_the_share_that_the_controller_takes_back():
    """A residual moves the point by 0.15 times itself; a controller of gain 2 answers with -0.3 of it."""
    found = findings(evidence_of(lambda observation: -2.0 * observation["observation"]))["controller"]
    assert found.numbers["taken_back"] == pytest.approx(0.3, abs=0.02)


def test_what_no_base_takes_part_in_cannot_be_fought_or_overridden():
    about = findings(evidence_of(lambda observation: np.zeros((len(observation["observation"]), 2))))
    assert (about["size"].standing, about["controller"].standing) == ("unknown", "unknown")


def test_every_finding_says_what_it_measured_or_why_it_could_not(evidence):
    for finding in findings(evidence).values():
        assert finding.meaning
        assert bool(finding.measured) == bool(finding.numbers) == (finding.standing != "unknown")


def test_a_diagnosis_survives_being_written(evidence):
    diagnosis = find_causes(CONFIG, 400, evidence, EVALUATED, METRICS)
    assert TypeAdapter(Diagnosis).validate_python(diagnosis.to_json()) == diagnosis
    assert 0 < len(diagnosis.calibration) <= 300


@pytest.mark.parametrize("name", SMALL)
def test_every_rule_of_learning_can_be_looked_at(name):
    algorithm = SMALL[name]
    about = findings(evidence_of(algorithm=algorithm), config=replace(CONFIG, algorithm=algorithm))
    assert len(about) == 11
