"""PETS as a base: its model is learned in the run, before the residual; and the table that is made of it."""

from functools import partial
from pathlib import Path
from typing import Any

from residual_rl import storage
from residual_rl.controllers.artefacts import Artefact, Preparation, Report
from residual_rl.controllers.controller import name_of
from residual_rl.controllers.table import Distance, TableController
from residual_rl.errors import ControllerError, UnknownName
from residual_rl.pets.caching import check_size, record_states, table_of
from residual_rl.pets.ensemble import ModelSettings
from residual_rl.pets.episodes import MOST_EPISODES, read_episodes, save_episodes
from residual_rl.pets.model_learning import ModelLearning
from residual_rl.pets.planner import About, PETSPlanner
from residual_rl.pets.rewards import REWARDS, Form, RewardOfStep
from residual_rl.pets.search import PlannerSettings
from residual_rl.tasks.task import AnyTask

MODEL = "model"
STATES = "states.safetensors"

SIZES: dict[str, tuple[ModelSettings, PlannerSettings]] = {
    "two-cores": (ModelSettings(), PlannerSettings()),
    "published": (
        ModelSettings(
            hidden=(200, 200, 200), weight_decay=5e-4, variance_weight=0.0, batch_size=32, epochs=5.0, least_updates=1
        ),
        PlannerSettings(candidates=500, elites=50, rounds=5, particles=20, hold=1),
    ),
}
"""The sizes of model and planner by name. Source of "published": the pusher of Chua et al. 2018, appendix A."""


class PETS:
    """A planner whose model is learned in the run, from episodes that the planner itself drives after the first one.

    Pass it as the controller of `improve`. The model knows nothing of episodes that an environment ends early: the reward alone
    must tell what is bad. A goal must be the same in all episodes, or be part of the observation.

    Args:
        reward: `observation, action, next_observation -> [B]`, batched, in the environment's own form and units: of a goal
            environment, its entry "observation". A function of JAX arrays is compiled into the planner; one of NumPy arrays is
            called at every imagined step, which is slower. None in a task of the library that has one.
        steps: environment steps from which the model is learned. Published: 15,000.
        sizes: a key of `SIZES`.
        model: instead of those sizes of the model.
        planner: instead of those sizes of the planner.

    Raises:
        UnknownName: no such sizes.
    """

    __name__ = "pets"

    def __init__(
        self,
        reward: RewardOfStep | None = None,
        *,
        steps: int = 15_000,
        sizes: str = "two-cores",
        model: ModelSettings | None = None,
        planner: PlannerSettings | None = None,
    ):
        if sizes not in SIZES:
            raise UnknownName("size of PETS", sizes, SIZES)
        if reward is not None and not callable(reward):
            raise ControllerError(f"reward must be a function of observation, action and next observation, not {reward!r}")
        self.reward, self.steps = reward, steps
        self.model, self.planner = model or SIZES[sizes][0], planner or SIZES[sizes][1]
        if self.planner.particles % self.model.networks:
            raise ControllerError(
                f"particles ({self.planner.particles}) must be a multiple of the number of networks ({self.model.networks})"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What decides how the model is learned."""
        return {
            "reward": name_of(self.reward) if self.reward else None,
            "steps": self.steps,
            "model": storage.to_json(self.model),
            "planner": storage.to_json(self.planner),
        }

    def prepare(self, task: AnyTask, budget: int, seed: int, directory: Path, report: Report) -> Preparation:
        """Learn the model; see `Prepared`."""
        if self.most_steps >= budget:
            raise ControllerError(
                f"{self.__name__} takes {self.most_steps:,} of {budget:,} steps: none is left to train. Give the run more, or "
                f"{self.__name__} fewer"
            )
        learning = self.learning(task, seed, directory)
        planner = learning.learn(partial(lanes_of, task), task.spec.horizon, report)
        return Preparation(planner, learning.about.steps)

    @property
    def most_steps(self) -> int:
        """Environment steps that the preparation takes, about."""
        return self.steps

    def learning(self, task: AnyTask, seed: int, directory: Path) -> ModelLearning:
        """Return the learning of the model in a task, as far as it is in the directory."""
        return ModelLearning(self.about(task, seed), self.reward_in(task), self.steps, directory / MODEL)

    def about(self, task: AnyTask, seed: int) -> About:
        """Return the record of a model of this task that has seen nothing."""
        spec = task.spec
        name = name_of(self.reward) if self.reward else task.name
        return About(spec.observation_size, spec.action_size, name, form_of(task), self.model, self.planner, seed)

    def reward_in(self, task: AnyTask) -> RewardOfStep:
        """Return the reward function for a task.

        Raises:
            ControllerError: none was passed, and the task has none.
        """
        if self.reward is not None:
            return self.reward
        if task.name not in REWARDS:
            raise ControllerError(f"PETS needs the reward of {task.name} as a function: PETS(reward=...)")
        return REWARDS[task.name]

    def load(self, directory: Path) -> Artefact:
        """Return the planner that was saved in a directory."""
        return PETSPlanner.load(directory, self.reward)


class CachedPETS(PETS):
    """A table of what such a planner does: the model is learned, then the planner fills the table in further episodes.

    Args:
        reward: as for `PETS`.
        states: of the table; as many environment steps are taken for them. Published: 500.
        distance: how near two states are: "raw", as published, or "scaled".
        settings: the other arguments of `PETS`.

    Source: Silver et al. 2018, section V-B5.
    """

    __name__ = "cached-pets"

    def __init__(self, reward: RewardOfStep | None = None, *, states: int = 500, distance: Distance = "raw", **settings: Any):
        super().__init__(reward, **settings)
        check_size(states)
        self.states = states
        self.distance: Distance = distance

    @property
    def settings(self) -> dict[str, Any]:
        """What decides how the table is made."""
        return super().settings | {"states": self.states, "distance": self.distance}

    @property
    def most_steps(self) -> int:
        """Environment steps that the preparation takes, about."""
        return self.steps + self.states

    def prepare(self, task: AnyTask, budget: int, seed: int, directory: Path, report: Report) -> Preparation:
        """Learn the model and fill the table; see `Prepared`."""
        planner, steps = super().prepare(task, budget, seed, directory, report)
        file = directory / STATES
        if not file.exists():
            assert isinstance(planner, PETSPlanner)
            planner.begin = 0
            first = MOST_EPISODES // 2  # far from the seeds of the episodes that the model has seen
            recorded = record_states(
                lanes_of(task), planner, self.states, seed, first, lambda done: report(steps) if done == 0 else None
            )
            save_episodes(file, [recorded], {})
        (recorded,), _ = read_episodes(file)
        report(steps + self.states)
        return Preparation(table_of(recorded, self.distance), steps + self.states)

    def load(self, directory: Path) -> Artefact:
        """Return the table that was saved in a directory."""
        return TableController.load(directory)


def lanes_of(task: AnyTask, with_state: bool = False) -> Any:
    """Return one lane, or as many as the user's environment has, that stop when an episode ends."""
    return task.open_lanes(with_state=with_state)


def form_of(task: AnyTask) -> Form:
    """Return the form of a task's observations and actions."""
    layout = getattr(task, "layout", None)
    if layout is None:
        return Form()
    entries = tuple((tuple(entry.path), tuple(entry.shape)) for entry in layout.observation)
    return Form(entries, tuple(layout.action_shape), tuple(layout.low), tuple(layout.high))
