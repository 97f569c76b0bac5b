"""A learned policy: scale and caution cost nothing to set and change no other policy; scale per entry; rate limit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import ALGORITHMS, SPEC, asked, made_bundle, made_config, made_residual, made_verdict
from probes import ROBOT, SMALL, random_batch, random_observation

from residual_rl.bundles import bundle
from residual_rl.bundles.bundle import write_bundle
from residual_rl.bundles.runtime import load
from residual_rl.errors import ResidualRLError
from residual_rl.learning import algorithm as learning
from residual_rl.learning.actors import Actor
from residual_rl.policy import Policy
from residual_rl.residual import Composer, Composition
from residual_rl.types import Observation

GRIPPER = (1.0, 0.5, 0.25, 0.0)
"""The last of four entries is left to the base."""


def wandering(observation: Observation) -> np.ndarray:
    """A batched base that moves from step to step."""
    return np.tanh(3.0 * observation["observation"][..., :4])


def made_policy(composition: Composition, name: str = "ungated") -> Policy:
    algorithm = replace(ALGORITHMS[name], composition=composition)
    return Policy(wandering, composition, made_residual(algorithm), SPEC)


def observations(count: int, seed: int = 0) -> Observation:
    return random_observation(np.random.default_rng(seed), SPEC, count)


# ---- scale and caution at run time ----


def test_setting_scale_and_caution_compiles_nothing() -> None:
    policy, shown = made_policy(Composition(), "default"), observations(300)
    policy(shown)
    compiled = learning.act._cache_size()  # type: ignore[attr-defined]
    actions = []
    for policy.scale, policy.caution in [(1.0, 0.5), (0.7, 1.0), (0.31, 0.0), (0.2, None)]:
        actions.append(policy(shown))
    assert learning.act._cache_size() == compiled  # type: ignore[attr-defined]
    assert len({action.tobytes() for action in actions}) == len(actions)


def test_a_caution_that_was_set_is_that_of_a_policy_that_was_learned_with_it() -> None:
    policy, shown = made_policy(Composition(), "default"), observations(300)
    for policy.caution in (0.0, 1.0, None):
        residual = made_residual(replace(ALGORITHMS["default"], actors=(Actor(cautions=(policy.caution,)),)))
        np.testing.assert_array_equal(policy(shown), Policy(wandering, Composition(), residual, SPEC)(shown))


def test_policies_of_one_residual_do_not_change_each_other() -> None:
    residual, shown = made_residual(ALGORITHMS["default"]), observations(300)
    one, other = (Policy(wandering, Composition(), residual, SPEC) for _ in range(2))
    before = other(shown)
    one.caution, one.scale = None, 0.5
    np.testing.assert_array_equal(other(shown), before)
    assert (one(shown) != before).any()
    assert (other.caution, other.scale, residual.algorithm.knobs["caution"]) == (0.5, 1.0, 0.5)


# ---- a scale for each entry ----


def test_an_entry_of_scale_zero_is_the_bases_exactly() -> None:
    policy, shown = made_policy(Composition(scale=GRIPPER)), observations(200)
    change = policy(shown) - wandering(shown)
    assert not change[:, 3].any()
    assert (np.abs(change).max(axis=0) <= np.array(GRIPPER) + 1e-12).all()
    assert (np.abs(change[:, :3]).max(axis=0) > 0.5 * np.array(GRIPPER[:3])).all()


def test_a_number_bounds_the_scale_of_every_entry_and_a_tuple_sets_it() -> None:
    policy, shown = made_policy(Composition(scale=GRIPPER)), observations(20)
    trained = policy(shown)
    assert policy.scale == GRIPPER
    policy.scale = 0.4
    assert policy.scale == (0.4, 0.4, 0.25, 0.0)
    policy.scale = (0.0, 0.5, 0.0, 0.0)
    change = policy(shown) - wandering(shown)
    assert change[:, 1].all()
    assert not change[:, [0, 2, 3]].any()
    policy.scale = 0.0
    np.testing.assert_array_equal(policy(shown), wandering(shown))
    policy.scale = 1.0
    np.testing.assert_array_equal(policy(shown), trained)
    for wrong in (1.1, (1.0, 0.6, 0.0, 0.0), (1.0, 0.5), (0.0, 0.0, 0.0, 0.1), float("nan")):
        with pytest.raises(ResidualRLError, match=r"scale must be between 0 and \(1\.0, 0\.5, 0\.25, 0\.0\)"):
            policy.scale = wrong


def test_the_residual_is_recovered_from_the_action_but_for_entries_of_scale_zero() -> None:
    composition, rng = Composition(scale=GRIPPER), np.random.default_rng(0)
    base_action, residual = rng.uniform(-0.2, 0.2, (9, 4)), rng.uniform(-0.5, 0.5, (9, 4))
    recovered = composition.residual(base_action, composition.action(base_action, residual))
    np.testing.assert_allclose(recovered[:, :3], residual[:, :3], atol=1e-12)
    np.testing.assert_array_equal(recovered[:, 3], 0.0)


@pytest.mark.parametrize("name", SMALL)
def test_a_learner_learns_with_a_scale_for_each_entry(name: str) -> None:
    algorithm = replace(SMALL[name], composition=replace(SMALL[name].composition, scale=GRIPPER))
    batch = random_batch(algorithm, ROBOT, 16)
    import jax

    learner = learning.init(algorithm, ROBOT, jax.random.key(0))
    batches = jax.tree.map(lambda leaf: leaf[None], batch)
    _, metrics = learning.update_many(algorithm, learner, batches, ROBOT, jax.random.key(0), True)
    assert np.isfinite(float(metrics["critic_loss"]))


@pytest.mark.parametrize("scale", [(0.0, 0.0), (), (1.0, -0.5), (1.0, float("nan"))])
def test_a_scale_that_leaves_nothing_to_learn_or_is_out_of_range_is_refused(scale: Any) -> None:
    with pytest.raises(ValueError, match="scale"):
        Composition(scale=scale)


@pytest.mark.parametrize("method", ["improve", "configure"])
def test_a_scale_for_other_entries_than_the_action_has_is_refused(method: str, tmp_path: Path) -> None:
    import residual_rl.api

    out = {"out": tmp_path} if method == "improve" else {}
    with pytest.raises(ResidualRLError, match=r"scale has 3 entries, \(1\.0, 0\.0, 1\.0\), but an action of push has 4"):
        getattr(residual_rl.api, method)("push", **out, tell=None, **{"algorithm.composition.scale": (1.0, 0.0, 1.0)})


# ---- the rate limit ----


def steps_of(policy: Any, count: int = 30, lanes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Actions and base actions of episodes in parallel: `[T, B, A]`."""
    base_observation = observations(lanes)
    acted, based = [], []
    for step in range(count):
        moved = base_observation["observation"] + 0.05 * np.sin(step + np.arange(SPEC.observation_size))
        if step % 10 == 9:
            moved = -moved  # a base that jumps
        shown = observations(lanes, seed=step)
        shown["observation"] = moved
        acted.append(policy(shown))
        based.append(wandering(shown))
    return np.stack(acted), np.stack(based)


def test_with_a_rate_limit_the_action_changes_no_faster_unless_the_base_does() -> None:
    limit = 0.1
    policy = made_policy(Composition(rate_limit=limit))
    action, base_action = steps_of(policy)
    change, of_base = np.abs(np.diff(action, axis=0)), np.abs(np.diff(base_action, axis=0))
    assert (change <= np.maximum(limit, of_base) + 1e-9).all()
    assert (np.abs(action[0] - base_action[0]) <= limit + 1e-9).all()  # as if the base had acted until then
    free, _ = steps_of(made_policy(Composition()))
    assert (np.abs(np.diff(free, axis=0)) > np.maximum(limit, of_base) + 1e-3).any()
    assert (np.abs(action - base_action).max(axis=0) > limit).any()  # step by step it gets further


def test_a_rate_limit_never_holds_back_the_base_itself() -> None:
    """Where the residual is zero the base acts to the last bit, however it jumps."""
    rng, composer = np.random.default_rng(0), Composer(Composition(rate_limit=0.01))
    for _ in range(50):
        base_action = rng.uniform(-1.0, 1.0, (7, 4))
        np.testing.assert_array_equal(composer(base_action, np.zeros((7, 4))), base_action)


def test_reset_starts_the_rate_limit_anew() -> None:
    policy = made_policy(Composition(rate_limit=0.1))
    first, _ = steps_of(policy)
    policy.reset(6)
    again, _ = steps_of(policy)
    np.testing.assert_array_equal(first, again)
    with pytest.raises(ValueError, match=r"call reset\(2\)"):
        policy(observations(2))


def test_a_scale_that_is_set_in_mid_episode_makes_no_jump() -> None:
    policy = made_policy(Composition(rate_limit=0.1))
    _, _ = steps_of(policy)
    shown = observations(6)
    before = policy(shown)
    policy.scale = 0.2
    assert (np.abs(policy(shown) - before) <= 0.1 + 1e-9).all()


# ---- exported ----


@pytest.mark.parametrize(
    "composition",
    [
        Composition(scale=GRIPPER),
        Composition(rate_limit=0.1),
        Composition(scale=GRIPPER, rate_limit=0.05, clip_base=False),
    ],
    ids=["scale", "rate limit", "both"],
)
@pytest.mark.parametrize("name", ["ungated", "default"])
def test_a_bundle_and_its_graph_are_the_same_function(tmp_path: Path, composition: Composition, name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    algorithm = replace(ALGORITHMS[name], composition=composition)
    residual = made_residual(algorithm)
    write_bundle(tmp_path / "out", residual, SPEC, made_config(algorithm), made_verdict(True), onnx=True)
    trained, exported = Policy(wandering, composition, residual, SPEC), load(tmp_path / "out")
    session = onnxruntime.InferenceSession(tmp_path / "out" / bundle.ONNX)
    inputs = {each.name for each in session.get_inputs()}
    assert ({"previous_action", "previous_base_action"} <= inputs) == (composition.rate_limit is not None)
    previous: tuple[np.ndarray, np.ndarray] | None = None
    for step in range(12):
        observation, proposal = asked(exported, SPEC, 40, seed=step)
        trained.controller = lambda observation, proposal=proposal: proposal
        trained.scale = trained.scale  # acts by the new proposal
        action = exported(observation, proposal)
        np.testing.assert_allclose(action, trained(observation), atol=2e-6)
        before, base_before = previous or (proposal, proposal)
        given = observation | {"base_action": proposal, "previous_action": before, "previous_base_action": base_before}
        (in_graph,) = session.run(None, {key: value.astype(np.float32) for key, value in given.items() if key in inputs})
        np.testing.assert_allclose(in_graph, action, atol=1e-5)
        previous = action, proposal


def test_an_exported_scale_is_bounded_as_the_policys(tmp_path: Path) -> None:
    algorithm = replace(ALGORITHMS["ungated"], composition=Composition(scale=GRIPPER))
    made_bundle(tmp_path / "out", algorithm)
    policy = load(tmp_path / "out")
    assert policy.scale == policy.trained_scale == GRIPPER
    policy.scale = 0.4
    assert policy.scale == (0.4, 0.4, 0.25, 0.0)
    observation, proposal = asked(policy, SPEC, 50)
    assert not (policy(observation, proposal) - proposal.clip(-1, 1))[:, 3].any()
    with pytest.raises(ValueError, match="scale must be between"):
        policy.scale = (0.0, 0.0, 0.0, 0.1)
