"""Small worlds whose answers are known, and the data to learn them from. After the idea of rejax's test environments."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from residual_rl.learning import algorithm as learning
from residual_rl.learning.actor_critic import Learner
from residual_rl.learning.actors import Actor
from residual_rl.learning.algorithm import Algorithm
from residual_rl.learning.exploration import Roles, greedy
from residual_rl.learning.hindsight import Hindsight
from residual_rl.learning.replay import Replay, example_transition
from residual_rl.presets import PRESETS
from residual_rl.tasks.task import Task
from residual_rl.types import Observation, Spec, Transition

QUICK: dict[str, dict[str, Any]] = {
    "ddpg": {"target_interval": 1},
    "gated-ddpg": {"actors": (Actor(cautions=(3.0, 0.5)),), "target_rate": 0.05},
}
"""What lets each rule of learning answer a probe within seconds: an actor and targets that keep up."""


def small(algorithm: Algorithm) -> Any:
    """The same rule of learning, with small networks, quick."""
    return replace(algorithm, hidden=(32, 32), **QUICK.get(algorithm.name, {}))  # type: ignore


SMALL = {fields["algorithm"].name: small(fields["algorithm"]) for _, fields in PRESETS.values()}
"""Every rule of learning that a preset uses."""

ROBOT = Spec(observation_size=5, goal_size=3, action_size=4, horizon=20, reward_range=(-1.0, 0.0))
"""A discount of 0.95: values lie in [-20, 0]."""


def observation_of(observation: Any, achieved_goal: Any, desired_goal: Any) -> Observation:
    return Observation(observation=observation, achieved_goal=achieved_goal, desired_goal=desired_goal)


def random_observation(rng: np.random.Generator, spec: Spec, size: int) -> Observation:
    widths = (spec.observation_size, spec.goal_size, spec.goal_size)
    return observation_of(*(rng.normal(size=(size, width)).astype(np.float32) for width in widths))


def random_batch(algorithm: Algorithm, spec: Spec, size: int, seed: int = 0) -> Transition:
    """Transitions without sense, but composed as they should be; a third each terminated, truncated, neither."""
    rng = np.random.default_rng(seed)
    base_action, next_base_action, residual = rng.uniform(-1, 1, (3, size, spec.action_size)).astype(np.float32)
    return Transition(
        observation=random_observation(rng, spec, size),
        base_action=base_action,
        residual=residual,
        action=algorithm.composition.action(base_action, residual),
        reward=rng.uniform(-1, 0, size).astype(np.float32),
        terminated=np.arange(size) % 3 == 0,
        truncated=np.arange(size) % 3 == 1,
        discount=np.where(np.arange(size) % 3 == 0, 0.0, spec.discount).astype(np.float32),
        next_observation=random_observation(rng, spec, size),
        next_base_action=next_base_action,
    )


def used_learner(algorithm: Algorithm, spec: Spec, seed: int = 0) -> Learner:
    """A learner none of whose networks is what it was at the start, and whose targets are not its networks."""
    learner = learning.init(algorithm, spec, jax.random.key(seed))
    learner = learning.count_in(algorithm, learner, random_batch(algorithm, spec, 64, seed))
    rng = np.random.default_rng(seed)

    def shaken(leaf: Any) -> Any:
        noise = rng.normal(scale=0.3, size=np.shape(leaf))
        return jnp.asarray(np.asarray(leaf) + noise, leaf.dtype) if eqx.is_array(leaf) else leaf

    names = ("actor", "critics", "target_actor", "target_critics")
    return learner._replace(**{name: jax.tree.map(shaken, getattr(learner, name)) for name in names})


def acted(algorithm: Algorithm, networks: Any, observation: Observation, base_action: Any, key: Any, roles: Roles) -> Any:
    """The residual, compiled."""
    settings = algorithm.settings()
    return np.asarray(learning.act(algorithm.rule, networks, observation, base_action, key, roles, settings).residual)


def updated(
    algorithm: Algorithm, learner: Learner, batch: Transition, spec: Spec, train_actor: bool = True
) -> tuple[Learner, dict[str, Any]]:
    """One update, compiled."""
    return update_many(algorithm, learner, jax.tree.map(lambda leaf: leaf[None], batch), spec, train_actor)


def update_many(algorithm: Algorithm, learner: Any, batches: Transition, spec: Spec, train_actor: bool = True) -> Any:
    """An update for each of the minibatches, compiled."""
    return learning.update_many(algorithm, learner, batches, spec, jax.random.key(0), train_actor)


def in_minibatches(transitions: Transition, updates: int, batch_size: int, seed: int = 0) -> Transition:
    """`[N] -> [U, B]`, drawn with replacement."""
    rows = np.random.default_rng(seed).integers(len(transitions.reward), size=(updates, batch_size))
    return jax.tree.map(lambda leaf: leaf[rows], transitions)


# ---- worlds of one or two steps, as the transitions that all their actions lead to ----

LINE = Spec(observation_size=1, goal_size=0, action_size=1, horizon=4, reward_range=(-1.0, 1.0))
"""A discount of 3/4: values lie in [-4, 4]."""


class Place(NamedTuple):
    """Where the points of a `Track` are."""

    position: np.ndarray
    """[E, 1]"""


class Track:
    """A point on a line, moved by its action and paid for at every step: the further from 0, the less. Nothing ever succeeds.

    It starts anywhere in [-1, 1]. The best policy goes straight to 0; `drawn_to(place)` goes somewhere else.
    """

    spec = Spec(observation_size=1, goal_size=0, action_size=1, horizon=8, reward_range=(-2.0, 0.0))

    def reset(self, rngs: Sequence[np.random.Generator]) -> tuple[Place, np.ndarray]:
        return Place(np.array([[rng.uniform(-1.0, 1.0)] for rng in rngs])), np.zeros((len(rngs), 0))

    def step(self, state: Place, action: np.ndarray) -> Place:
        return Place((state.position + 0.4 * action).clip(-2.0, 2.0))

    def observe(self, state: Place, goal: np.ndarray) -> Observation:
        return observation_of(state.position.copy(), goal.copy(), goal.copy())

    def close(self) -> None: ...

    @staticmethod
    def success(achieved_goal: np.ndarray, desired_goal: np.ndarray) -> np.ndarray:
        return np.zeros(achieved_goal.shape[:-1], dtype=bool)

    @staticmethod
    def reward(achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> np.ndarray:
        return -np.abs(info["observation"][..., 0])

    @staticmethod
    def drawn_to(place: float) -> Any:
        """A base that goes to a place on the line, and stays."""

        def drawn(observation: Observation) -> np.ndarray:
            return (2.5 * (place - observation["observation"])).clip(-1.0, 1.0)

        drawn.reads_goal = False  # type: ignore[attr-defined]
        return drawn


TRACK = Task(
    name="track",
    summary="go to the middle",
    gymnasium_id="probes/Track-v0",
    spec=Track.spec,
    default_controller="zero",
    make_world=lambda num_threads: Track(),
    reward=Track.reward,
    success=Track.success,
    measured_by="return",
)


def line_transitions(
    algorithm: Algorithm, position: Any, base_action: Any, reward: Any, next_position: Any, terminated: Any, seed: int = 0
) -> Transition:
    """Transitions of a world on a line under residuals drawn uniformly; `reward` is a function of the executed action."""
    size = len(position)

    def column(values: Any) -> np.ndarray:
        return np.broadcast_to(np.asarray(values, np.float32), size)[:, None].copy()

    def at(values: Any) -> Observation:
        nothing = np.zeros((size, 0), np.float32)
        return observation_of(column(values), nothing, nothing)

    residual = np.random.default_rng(seed).uniform(-1, 1, (size, 1)).astype(np.float32)
    action = algorithm.composition.action(column(base_action), residual)
    return Transition(
        observation=at(position),
        base_action=column(base_action),
        residual=residual,
        action=action,
        reward=np.broadcast_to(np.asarray(reward(action[:, 0]), np.float32), size).copy(),
        terminated=np.broadcast_to(terminated, size).copy(),
        truncated=np.zeros(size, dtype=bool),
        discount=np.where(np.broadcast_to(terminated, size), 0.0, LINE.discount).astype(np.float32),
        next_observation=at(next_position),
        next_base_action=column(base_action),
    )


# ---- a world on a plane with a goal that chance does not find ----


class Plane(NamedTuple):
    """A point starts at the origin, is moved by its action, and is to be at a goal on a circle around the origin."""

    radius: float = 0.6
    step: float = 0.15
    tolerance: float = 0.12

    @property
    def spec(self) -> Spec:
        return Spec(observation_size=2, goal_size=2, action_size=2, horizon=10, reward_range=(-1.0, 0.0))

    def success(self, achieved_goal: np.ndarray, desired_goal: np.ndarray) -> np.ndarray:
        return np.linalg.norm(achieved_goal - desired_goal, axis=-1) < self.tolerance

    def reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any = None) -> np.ndarray:
        return self.success(achieved_goal, desired_goal) - 1.0

    def episodes(self, controller: Any, composition: Any, act: Any, count: int, seed: int) -> list[Transition]:
        """`act(observation, base_action, step) -> residual`."""
        angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, count)
        goal = self.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        position = np.zeros((count, 2))
        steps = []
        for step in range(self.spec.horizon):
            observation = observation_of(position, position, goal)
            base_action = composition.base_action(controller(observation))
            residual = np.asarray(act(observation, base_action, step), np.float64)
            action = composition.action(base_action, residual)
            position = position + self.step * action
            next_observation = observation_of(position, position, goal)
            steps.append(
                Transition(
                    observation=observation,
                    base_action=base_action,
                    residual=residual,
                    action=action,
                    reward=self.reward(position, goal),
                    terminated=np.zeros(count, dtype=bool),
                    truncated=np.full(count, step == self.spec.horizon - 1),
                    discount=np.full(count, self.spec.discount),
                    next_observation=next_observation,
                    next_base_action=composition.base_action(controller(next_observation)),
                )
            )
        over_time = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *steps)
        return [jax.tree.map(lambda leaf: leaf[lane], over_time) for lane in range(count)]  # noqa: B023

    def success_rate(self, algorithm: Algorithm, learner: Learner, controller: Any, episodes: int = 100) -> float:
        """Of base plus residual without exploration, at the last step."""
        roles, key = greedy(episodes), jax.random.key(0)

        def act(observation: Observation, base_action: np.ndarray, step: int) -> np.ndarray:
            return acted(algorithm, learner.current, observation, base_action, key, roles)

        ended = [
            jax.tree.map(lambda leaf: leaf[-1], episode)
            for episode in self.episodes(controller, algorithm.composition, act, episodes, seed=1)
        ]
        return float(np.mean([transition.reward == 0.0 for transition in ended]))

    def learned(
        self,
        algorithm: Algorithm,
        controller: Any,
        hindsight: Hindsight,
        episodes: int,
        updates: int,
        batch_size: int,
        explore: bool = False,
    ) -> Learner:
        """What is learned from episodes of uniformly drawn residuals alone; or of how a fresh learner explores."""
        rng = np.random.default_rng(0)
        fresh = learning.init(algorithm, self.spec, jax.random.key(0))
        everybody = np.ones(episodes, dtype=bool)
        roles = Roles(explore=everybody, arm=everybody.astype(int))

        def exploring(observation: Observation, base_action: np.ndarray, step: int) -> np.ndarray:
            key = jax.random.key(step)
            return acted(algorithm, fresh.current, observation, base_action, key, roles)

        def at_random(observation: Observation, base_action: np.ndarray, step: int) -> np.ndarray:
            return rng.uniform(-1, 1, base_action.shape)

        replay = Replay(example_transition(self.spec), episodes * self.spec.horizon)
        for episode in self.episodes(controller, algorithm.composition, exploring if explore else at_random, episodes, seed=0):
            replay.add_episode(episode)

        def base(observation: Observation) -> np.ndarray:
            return algorithm.composition.base_action(controller(observation))

        ask = base if algorithm.composition.relabel == "ask" else None

        def sample(size: int) -> Transition:
            return hindsight.sample(replay, rng, size, self.reward, self.success, ask)

        learner = learning.count_in(algorithm, fresh, sample(len(replay)))
        batches = jax.tree.map(lambda leaf: leaf.reshape(updates, batch_size, *leaf.shape[1:]), sample(updates * batch_size))
        return update_many(algorithm, learner, batches, self.spec)[0]
