"""The learned model, the sampling and the search, on problems whose answers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from residual_rl.controllers import TableController
from residual_rl.errors import ControllerError
from residual_rl.pets.assessment import assess
from residual_rl.pets.ensemble import Ensemble, ModelSettings, Scale, new_ensemble, predict
from residual_rl.pets.fitting import Seen, fit, start
from residual_rl.pets.planner import About, PETSPlanner
from residual_rl.pets.rewards import REWARDS, Form, rewards_of
from residual_rl.pets.sampling import returns_of
from residual_rl.pets.search import PlannerSettings, search
from residual_rl.tasks import TASKS

SMALL = ModelSettings(networks=3, hidden=(32, 32), least_updates=600)
KEYS = jax.vmap(jax.random.key)(jnp.arange(2))


def noisy_line(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A point that moves by a tenth of the action, with more noise on the right; its second entry never changes."""
    rng = np.random.default_rng(seed)
    observation = np.stack([rng.uniform(-1.0, 1.0, rows), np.full(rows, 3.0)], axis=1)
    action = rng.uniform(-1.0, 1.0, (rows, 1))
    noise = np.where(observation[:, :1] > 0.0, 0.05, 0.005) * rng.normal(size=(rows, 1))
    return observation, action, np.concatenate([0.1 * action + noise, np.zeros((rows, 1))], axis=1)


@pytest.fixture(scope="module")
def learned() -> Ensemble:
    observation, action, change = noisy_line(1000)
    seen = Seen(*(np.float32(np.pad(array, ((0, 500), (0, 0)))) for array in (observation, action, change)), np.int32(1000))
    fitted, losses = fit(start(2, 1, SMALL, jax.random.key(0)), seen, 1500, SMALL, jax.random.key(1))
    assert losses.shape == (3,)
    return fitted.model


def test_it_learns_the_mean_and_the_noise_where_it_is(learned: Ensemble) -> None:
    places = np.array([[-0.5, 3.0], [0.5, 3.0]], np.float32)
    rows = np.broadcast_to(places, (3, 2, 2))
    mean, deviation = predict(learned, rows, np.full((3, 2, 1), 0.8, np.float32))
    np.testing.assert_allclose(mean[..., 0] - places[:, 0], 0.08, atol=0.025)
    np.testing.assert_allclose(deviation[:, 1, 0], 0.05, rtol=0.35)
    assert (deviation[:, 0, 0] < 0.015).all()
    np.testing.assert_allclose(mean[..., 1], 3.0, atol=1e-4)  # what never changed stays


def test_each_network_has_a_sample_of_its_own() -> None:
    """Networks that begin alike differ afterwards."""
    observation, action, change = (np.float32(array) for array in noisy_line(64))
    alike = jax.tree.map(
        lambda leaf: jnp.repeat(leaf[:1], 3, axis=0) if leaf.ndim == 3 else leaf, start(2, 1, SMALL, jax.random.key(0))
    )
    fitted, losses = fit(alike, Seen(observation, action, change, np.int32(64)), 30, SMALL, jax.random.key(1))
    assert len(set(losses.tolist())) == 3
    assert not np.allclose(fitted.model.weights[0][0], fitted.model.weights[0][1], atol=1e-4)


def test_rows_that_are_not_filled_do_not_count() -> None:
    observation, action, change = (np.float32(array) for array in noisy_line(64))
    rest = [np.concatenate([array, np.full((64, array.shape[1]), 1e6, np.float32)]) for array in (observation, action, change)]
    fresh = start(2, 1, SMALL, jax.random.key(0))
    _, losses = fit(fresh, Seen(*rest, np.int32(64)), 30, SMALL, jax.random.key(1))
    assert (losses < 2.0).all()


def test_an_assessment_finds_that_it_is_calibrated(learned: Ensemble) -> None:
    rng = np.random.default_rng(5)
    where, actions, places = -0.6, rng.uniform(-0.3, 0.3, (60, 1)), []
    for action in actions:
        places.append((where, 3.0))
        where += 0.1 * float(action[0]) + 0.005 * rng.normal()
    before = np.array(places)
    after = np.concatenate([before[1:], [[where, 3.0]]])
    seen = assess(learned, before, actions, after, 10)
    assert seen.error.shape == seen.predicted.shape == seen.covered.shape == (10,)
    assert 0.5 < seen.predicted[0] / seen.error[0] < 2.5
    assert seen.error[9] > seen.error[0]
    assert (seen.covered > 0.7).all()


def bounded(mean: float, log_variance: float) -> Ensemble:
    """Three networks without inputs that matter: the first predicts a change of `mean`, the second none, the third -`mean`."""
    model = new_ensemble(1, 1, ModelSettings(networks=3, hidden=(4,)), jax.random.key(0))
    zeros = tuple(jnp.zeros_like(weight) for weight in model.weights)
    last = jnp.array([[[mean, log_variance]], [[0.0, log_variance]], [[-mean, log_variance]]])
    unit = Scale(jnp.zeros(1), jnp.ones(1))
    return model._replace(
        weights=zeros,
        biases=(model.biases[0], last),
        highest=jnp.full((3, 1, 1), -60.0),
        lowest=jnp.full((3, 1, 1), -70.0),
        inputs=Scale(jnp.zeros(2), jnp.ones(2)),
        change=unit,
    )


def test_a_particle_keeps_its_network_with_tsinf_and_changes_it_with_ts1() -> None:
    """The sum of T changes of the same network has a variance of T^2 shares, of independent networks T shares."""
    model, steps = bounded(1.0, 0.0), 16
    actions = jnp.zeros((2, 1, steps, 1))

    def squared_end(before, action, after):
        return after[:, 0] ** 2 - before[:, 0] ** 2  # these sum to the last square

    start_at = jnp.zeros((2, 1))
    fixed = returns_of(model, start_at, actions, squared_end, KEYS, 300, "tsinf")
    np.testing.assert_allclose(fixed, steps**2 * 2 / 3, rtol=1e-4)
    mixed = returns_of(model, start_at, actions, squared_end, KEYS, 300, "ts1")
    np.testing.assert_allclose(mixed, steps * 2 / 3, rtol=0.3)


def test_a_return_that_is_not_finite_is_the_worst() -> None:
    def reward(before, action, after):
        return jnp.where(action[:, 0] > 0.5, jnp.nan, action[:, 0])

    actions = jnp.array([0.9, 0.1]).reshape(1, 2, 1, 1)
    got = returns_of(bounded(0.0, 0.0), jnp.zeros((1, 1)), actions, reward, KEYS[:1], 3, "tsinf")
    assert np.isneginf(got[0, 0])
    assert got[0, 1] == pytest.approx(0.1)


@pytest.mark.parametrize("hold", [1, 4])
def test_the_search_finds_the_best_sequence_within_the_bounds(hold: int) -> None:
    target = jnp.repeat(jnp.array([[0.5, -0.25], [2.0, 0.0]])[:, None], 8, axis=1)
    settings = PlannerSettings(horizon=8, candidates=200, elites=20, rounds=12, hold=hold)

    def score(actions, keys):
        return -jnp.square(actions - target[:, None]).sum(axis=(2, 3))

    mean, best = search(score, jnp.zeros_like(target), KEYS, settings)
    np.testing.assert_allclose(mean, jnp.clip(target, -1.0, 1.0), atol=0.25)
    assert (jnp.abs(mean) <= 1.0).all()
    assert best.shape == (2,)


def planner(**settings: object) -> PETSPlanner:
    about = About(1, 1, "to_the_right", planner=PlannerSettings(**{"horizon": 5, "particles": 3, "hold": 1, **settings}),
                  model=ModelSettings(networks=3, hidden=(8,)))  # fmt: skip
    model = new_ensemble(1, 1, about.model, jax.random.key(0))
    return PETSPlanner(model, about, lambda observation, action, after: action[:, 0] - 0.1 * after[:, 0] ** 2)


def seeing(*rows: float) -> dict:
    return {"observation": np.array(rows)[:, None], "achieved_goal": np.zeros((len(rows), 0))}


def test_a_lane_plans_the_same_whatever_the_others_do() -> None:
    one = planner()
    one.reset(np.ones(3, bool))
    together = [one(seeing(0.1, 0.5, -0.4)) for _ in range(3)]
    one.reset(np.array([True, False, False]))
    again = one(seeing(0.1, 0.5, -0.4))
    np.testing.assert_allclose(again[0], together[0][0], atol=1e-6)
    assert not np.allclose(again[1], together[0][1], atol=1e-6)
    alone = planner()
    alone.reset(np.ones(1, bool))
    for expected in together:
        np.testing.assert_allclose(alone(seeing(0.5))[0], expected[1], atol=1e-5)


def test_a_numpy_reward_gives_the_same_plan() -> None:
    def to_the_right(observation, action, after):
        assert isinstance(observation, np.ndarray)
        return np.asarray(action)[:, 0] - 0.1 * np.square(after[:, 0])

    one = planner()
    other = PETSPlanner(one.model, one.about, to_the_right)
    np.testing.assert_allclose(other(seeing(0.1, 0.5)), one(seeing(0.1, 0.5)), atol=1e-5)


def test_a_model_that_has_diverged_is_named() -> None:
    one = planner()
    one.model = jax.tree.map(lambda leaf: leaf * jnp.nan, one.model)
    with pytest.raises(ControllerError, match="no sequence of actions has a finite return"):
        one(seeing(0.1))
    with pytest.raises(ControllerError, match="observations of 1 numbers, not 2"):
        planner()({"observation": np.zeros((1, 2))})


def test_the_reward_of_the_pusher_is_that_of_the_task() -> None:
    rng = np.random.default_rng(0)
    before, action, after = rng.normal(size=(50, 20)), rng.uniform(-1, 1, (50, 7)), rng.normal(size=(50, 20))
    for name, reward in REWARDS.items():
        task = TASKS[name]
        world = task.make_world(1)
        _, goal = world.reset([np.random.default_rng(0)])
        world.close()
        info = {"observation": after, "action": action}
        expected = task.reward(after[:, 17:20], np.tile(goal, (50, 1)), info)
        np.testing.assert_allclose(reward(before, action, after), expected, rtol=1e-5)
        np.testing.assert_allclose(reward(*map(jnp.asarray, (before, action, after))), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("reward", "complaint"),
    [
        (lambda observation, action, after: after, r"returned float32 of shape \(4, 3\) for 4 steps"),
        (lambda observation, action, after: 1.0, r"of shape \(\) for 4 steps"),
        (lambda observation, action, after: after[:, 0] / 0.0, "must be finite"),
        (lambda observation, action, after: after[:, 7], "IndexError.*an observation holds one vector"),
        (lambda observation, action, after: after["tip"], "raised IndexError"),
    ],
)
def test_a_reward_that_cannot_be_used_is_named(reward, complaint: str) -> None:
    with pytest.raises(ControllerError, match=complaint), np.errstate(all="ignore"):
        rewards_of(reward, Form(), np.ones((4, 3)), np.zeros((4, 1)), np.ones((4, 3)))


def test_a_reward_sees_what_the_environment_shows_in_its_units() -> None:
    form = Form(entries=((("arm", "tip"), (2,)), (("load",), (1, 1))), action_shape=(1,), low=(-2.0,), high=(6.0,))

    def reward(observation, action, after):
        assert observation["load"].shape == (3, 1, 1)
        return observation["arm"]["tip"][:, 1] + action[:, 0]

    got = rewards_of(reward, form, np.tile([1.0, 2.0, 3.0], (3, 1)), np.array([[-1.0], [0.0], [1.0]]), np.zeros((3, 3)))
    np.testing.assert_allclose(got, [0.0, 4.0, 8.0])


def test_a_table_can_scale_the_distance() -> None:
    states, actions = np.array([[0.0, 0.0], [0.2, 100.0], [1.0, 30.0]]), np.array([[0.0], [1.0], [2.0]])
    seen = {"observation": np.array([[0.9, 10.0]])}
    assert TableController(states, actions)(seen) == 0.0
    assert TableController(states, actions, "scaled")(seen) == 2.0
    assert TableController(states, actions).digest != TableController(states, actions, "scaled").digest
    with pytest.raises(ControllerError, match="'raw' or 'scaled', not 'near'"):
        TableController(states, actions, "near")  # type: ignore[arg-type]
