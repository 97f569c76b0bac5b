"""PETS as a base: made in the run, killed and resumed, cached, loaded again; and what cannot be used is named."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from worlds import BUDGET

import residual_rl
from residual_rl.controllers import CONTROLLERS, PETS, CachedPETS, cached, make_controller
from residual_rl.controllers.artefacts import Prepared, artefact_in
from residual_rl.errors import ControllerError, Interrupted, ResidualRLError, RunError
from residual_rl.pets.ensemble import ModelSettings
from residual_rl.pets.model_learning import LEARNER
from residual_rl.pets.planner import PETSPlanner
from residual_rl.pets.search import PlannerSettings
from residual_rl.reports.learned_model import read_learned_model
from residual_rl.reports.report import write_report
from residual_rl.storage import read_arrays
from residual_rl.tasks import TASKS, find_task

STEPS = 10
FEW: dict[str, Any] = BUDGET | {
    "horizon": None, "episodes_per_cycle": 4, "updates_per_cycle": 4, "steps": 400, "evaluation_episodes": 4,
    "verdict_episodes": 8, "evaluation_interval": 200,
}  # fmt: skip
SMALL: dict[str, Any] = {
    "steps": 60,
    "model": ModelSettings(networks=2, hidden=(16,), batch_size=32, least_updates=150),
    "planner": PlannerSettings(horizon=4, candidates=32, elites=4, rounds=3, particles=2),
}


class Cart(gymnasium.Env):
    """A cart on a line, pushed with -2 to 2, is to come to 0 and stay. Ten steps."""

    observation_space = spaces.Dict({"cart": spaces.Box(-np.inf, np.inf, (2,), np.float32)})
    action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = np.array([self.np_random.uniform(0.5, 1.0), 0.0])
        self.left = STEPS
        return self._show(), {}

    def _show(self) -> dict[str, np.ndarray]:
        return {"cart": self.state.astype(np.float32)}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        position, velocity = self.state
        velocity = 0.7 * velocity + 0.15 * float(action[0])
        self.state = np.array([position + velocity, velocity])
        self.left -= 1
        return self._show(), -float(self.state[0] ** 2), False, self.left == 0, {}


def near(observation: Any, action: Any, after: Any) -> Any:
    assert action.shape[-1] == 1
    return -(after["cart"][:, 0] ** 2)


def make_cart() -> gymnasium.Env:
    return gymnasium.wrappers.TimeLimit(Cart(), STEPS)


class Stopped(PETS):
    """Is stopped after so many reports."""

    def __init__(self, *args: Any, stop: int, **settings: Any):
        super().__init__(*args, **settings)
        self.stop = stop

    def prepare(self, task: Any, budget: int, seed: int, directory: Path, report: Any) -> Any:
        def counting(steps: int) -> None:
            self.stop -= 1
            if self.stop == 0:
                os.kill(os.getpid(), signal.SIGINT)
            report(steps)

        return super().prepare(task, budget, seed, directory, counting)


Stopped.__module__ = PETS.__module__


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pets") / "run"
    residual_rl.improve(make_cart, PETS(near, **SMALL), out=path, **FEW)
    return path


def arrays_of(run: Path) -> dict[str, np.ndarray]:
    return read_arrays(run / "base" / "model" / LEARNER)[0]


def test_it_learns_to_plan_within_its_steps(made: Path) -> None:
    rows = (made / "base" / "model" / "learning.csv").read_text().splitlines()
    assert len(rows) == 7
    first = (made / "evaluations.csv").read_text().splitlines()[:2]
    row = dict(zip(first[0].split(","), first[1].split(","), strict=True))
    assert row["step"] == "60"
    assert float(row["base_mean_return"]) > -2.3  # a cart that is not pushed gets -5.8 in the mean


def test_the_report_shows_model_and_planner(made: Path) -> None:
    model = read_learned_model(made)
    assert model is not None
    assert model.horizon.tolist() == [1]  # the planner looks four steps ahead
    page = write_report([made]).read_text()
    assert "The learned model of the base" in page
    assert f"{model.milliseconds:.0f} ms" in page


def test_the_run_loads_it_with_its_reward_alone(made: Path) -> None:
    policy = residual_rl.load(made, PETS(near, **SMALL))
    policy.reset()
    assert policy({"cart": np.array([0.9, 0.0], np.float32)}).shape == (1,)
    with pytest.raises(ControllerError, match=r"needs its reward 'near', a function of yours: pass PETS\(reward=...\)"):
        residual_rl.load(made)


@pytest.mark.parametrize("stop", [1, 4])
def test_a_stopped_preparation_goes_on_with_the_same_numbers(made: Path, stop: int, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="preparation"):
        residual_rl.improve(make_cart, Stopped(near, stop=stop, **SMALL), out=tmp_path / "run", **FEW)
    residual_rl.improve(make_cart, PETS(near, **SMALL), out=tmp_path / "run", **FEW)
    np.testing.assert_equal(arrays_of(tmp_path / "run"), arrays_of(made))
    with pytest.raises(RunError, match=r"settings.steps: 60 -> 70"):
        residual_rl.improve(make_cart, PETS(near, **SMALL | {"steps": 70}), out=tmp_path / "run", **FEW)


def test_a_kill_between_an_episode_and_its_model_loses_nothing(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "base" / "model", tmp_path / "model")
    for name in (LEARNER, "learning.csv", "model.safetensors", "episode-005.safetensors"):
        (tmp_path / "model" / name).unlink()
    about = PETSPlanner.load(made / "base" / "model", near).about
    from residual_rl.custom.opened import Opened
    from residual_rl.training.experiment import unexplored

    opened = Opened(make_cart)
    task = unexplored(opened)
    learning = PETS(near, **SMALL).learning(task, 0, tmp_path)
    assert learning.about.episodes == 0
    learning.learn(task.open_lanes, STEPS, lambda steps: None)
    opened.close()
    assert learning.about == about
    np.testing.assert_equal(read_arrays(tmp_path / "model" / LEARNER)[0], arrays_of(made))


def test_a_planner_can_be_cached_in_any_environment(made: Path) -> None:
    planner = PETS(near, **SMALL).load(made / "base" / "model")
    table = cached(planner, make_cart, states=40)
    assert table.states.shape == (40, 2)
    assert table.actions.shape == (40, 1)
    assert 1.0 < np.abs(table.actions).max() <= 2.0  # in the units of the environment
    by_table, by_planner = (residual_rl.evaluate(make_cart, one, episodes=20).base.mean_return for one in (table, planner))
    assert -4.0 < by_table <= by_planner + 0.5
    again = cached("reactive-push", "push", states=60)
    assert again.states.shape == (60, 25)


def test_cached_pets_is_made_in_the_run_and_used_again_by_its_directory(tmp_path: Path) -> None:
    assert isinstance(make_controller("cached-pets", TASKS["mbrl-pusher"].spec), Prepared)
    tiny = CachedPETS(
        states=200,
        steps=300,
        model=ModelSettings(networks=1, hidden=(8,), least_updates=5),
        planner=PlannerSettings(horizon=2, candidates=2, elites=1, rounds=1, particles=1),
    )
    short = {name: value for name, value in FEW.items() if name != "horizon"} | {
        "steps": 1200, "evaluation_interval": 600, "evaluation_episodes": 2, "verdict_episodes": 2, "num_threads": 1
    }  # fmt: skip
    run = residual_rl.improve("mbrl-pusher", tiny, out=tmp_path / "run", **short)
    assert run.config.controller == "cached-pets"
    first = (tmp_path / "run" / "evaluations.csv").read_text().splitlines()[1]
    assert first.startswith("500,")
    table, is_prepared = artefact_in(tmp_path / "run")
    assert is_prepared
    assert table.states.shape == (200, 20)
    observation = np.zeros((1, 20))
    np.testing.assert_array_equal(
        residual_rl.load(tmp_path / "run").controller({"observation": observation}), table({"observation": observation})
    )
    found = residual_rl.evaluate("mbrl-pusher", str(tmp_path / "run"), episodes=2, num_threads=1)
    assert found.controller.startswith("table-")
    found = residual_rl.evaluate("mbrl-pusher", str(tmp_path / "run" / "base" / "model"), episodes=2, num_threads=1)
    assert found.controller.startswith("pets-")
    with pytest.raises(ControllerError, match="holds no base"):
        residual_rl.evaluate("mbrl-pusher", str(tmp_path), episodes=2)
    with pytest.raises(ControllerError, match="made inside of a run"):
        residual_rl.evaluate("mbrl-pusher", "cached-pets", episodes=2)


def test_pets_is_offered_where_its_reward_is_known() -> None:
    offered = [name for name, task in TASKS.items() if CONTROLLERS["cached-pets"].fits(task.spec)]
    assert offered == ["mbrl-pusher", "mbrl-pusher-as-described"]
    with pytest.raises(ControllerError, match="made for another kind of task"):
        make_controller("pets", TASKS["push"].spec)
    with pytest.raises(ControllerError, match="needs the reward of push as a function"):
        PETS().reward_in(find_task("push"))


def test_discrete_mpc_is_offered_where_its_model_is_the_tasks() -> None:
    offered = [name for name, task in TASKS.items() if CONTROLLERS["discrete-mpc"].fits(task.spec)]
    assert offered == ["push", "mpc-push"]
    with pytest.raises(ControllerError, match="made for another kind of task"):
        make_controller("discrete-mpc", TASKS["pick-and-place"].spec)


@pytest.mark.parametrize(
    ("reward", "complaint"),
    [
        (lambda observation, action, after: after["cart"], r"of shape \(10, 2\) for 10 steps"),
        (
            lambda observation, action, after: after["pole"][:, 0],
            r"KeyError: 'pole'.*an observation holds cart of shape \(2,\)",
        ),
        (lambda observation, action, after: after["cart"][:, 0] * np.inf, "must be finite"),
    ],
)
def test_a_reward_that_cannot_be_used_is_named_and_the_episode_is_kept(reward: Any, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ControllerError, match=complaint):
        residual_rl.improve(make_cart, PETS(reward, **SMALL), out=tmp_path / "run", **FEW)
    assert (tmp_path / "run" / "base" / "model" / "episode-000.safetensors").exists()


def test_a_model_that_diverges_is_named_and_the_episodes_are_kept(tmp_path: Path) -> None:
    wild = SMALL | {"model": ModelSettings(networks=2, hidden=(16,), learning_rate=1e20, least_updates=20)}
    with pytest.raises(ControllerError, match=r"the model diverged after episode 0.* lower learning_rate than 1e\+20"):
        residual_rl.improve(make_cart, PETS(near, **wild), out=tmp_path / "run", **FEW)
    assert (tmp_path / "run" / "base" / "model" / "episode-000.safetensors").exists()


def test_what_cannot_be_is_refused_before_any_step(tmp_path: Path) -> None:
    with pytest.raises(ControllerError, match="a table needs two states at least, not 1"):
        CachedPETS(near, states=1)
    with pytest.raises(ControllerError, match="a table needs two states at least, not 0"):
        cached("zero", "push", states=0)
    with pytest.raises(ControllerError, match=r"particles \(5\) must be a multiple of the number of networks \(4\)"):
        PETS(near, model=ModelSettings(networks=4))
    with pytest.raises(ResidualRLError, match="there is no size of PETS called 'huge'"):
        PETS(near, sizes="huge")
    with pytest.raises(ControllerError, match="takes 60 of 60 steps: none is left to train"):
        residual_rl.improve(make_cart, PETS(near, **SMALL), out=tmp_path / "run", **FEW | {"steps": 60})
    with pytest.raises(ControllerError, match="two episodes at least"):
        residual_rl.improve(make_cart, PETS(near, **SMALL | {"steps": 15}), out=tmp_path / "short", **FEW)
