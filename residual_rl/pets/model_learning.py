"""Learn a model: roll out an episode, fit the model to all of them, plan the next with it. If killed, it resumes."""

import csv
import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from residual_rl import storage
from residual_rl.errors import ControllerError, RunError
from residual_rl.learning.serialization import from_arrays, to_arrays
from residual_rl.pets.assessment import assess
from residual_rl.pets.episodes import MOST_EPISODES, RandomActions, Recorded, joined, read_episodes, roll_out, save_episodes
from residual_rl.pets.fitting import Fitted, Seen, fit, start, updates_for
from residual_rl.pets.planner import About, PETSPlanner, about_from, storage_json
from residual_rl.pets.rewards import RewardOfStep, rewards_of
from residual_rl.tasks.lanes import Lanes

LEARNER = "learner.safetensors"
LEARNING = "learning.csv"
AHEAD = (1, 5, 10, 25)  # steps, of the errors in `LEARNING`


class ModelLearning:
    """A model that is being learned in a directory.

    Args:
        about: the model to learn; its episodes and steps are counted here.
        reward: the reward function.
        budget: environment steps, at most.
        directory: where its files are.
    """

    def __init__(self, about: About, reward: RewardOfStep, budget: int, directory: Path):
        self.directory, self.budget, self.reward = directory, budget, reward
        storage.make_directory(directory)
        self._start = start(about.observation_size, about.action_size, about.model, jax.random.key(about.seed))
        self._fitted, self.about = self._restored(about)
        self.rows = self._read_rows()
        self.episodes: list[Recorded] = []
        """Of all rollouts that the model has seen."""
        for number in range(self.about.episodes):
            self.episodes += read_episodes(self._file(number))[0]
        self.planner = PETSPlanner(self._fitted.model, self.about, reward)
        self._capacity = budget

    def _restored(self, about: About) -> tuple[Fitted, About]:
        file = self.directory / LEARNER
        if not file.exists():
            return self._start, about
        arrays, metadata = storage.read_arrays(file)
        kept = about_from(metadata, file)
        if replace(kept, episodes=0, steps=0) != about:
            raise RunError(f"{file} holds another model; choose another directory, or the same settings")
        return from_arrays(self._start, arrays, "learner", str(file)), kept

    def _read_rows(self) -> list[dict[str, Any]]:
        file = self.directory / LEARNING
        if not file.exists():
            return []
        with file.open(newline="") as lines:
            return list(csv.DictReader(lines))[: self.about.episodes]

    def _file(self, number: int) -> Path:
        return self.directory / f"episode-{number:03}.safetensors"

    def learn(self, make_envs: Callable[[], Lanes], horizon: int, report: Callable[[int], None]) -> PETSPlanner:
        """Go on until the budget has no room for another episode.

        Raises:
            ControllerError: the budget has no room for two episodes; the reward is unusable; or the model diverged.
            WorldError: the environment loses every episode.
        """
        envs = make_envs()
        self._capacity = self.budget + horizon * envs.num_envs
        while self._has_room(envs.num_envs):
            file = self._file(self.about.episodes)
            if not file.exists():
                self._roll_out(envs, file)
            episodes, metadata = read_episodes(file)
            self._learn_from(episodes, metadata)
            report(self.about.steps)
        if self.about.episodes < 2:
            raise ControllerError(
                f"a model needs two episodes at least; the first one took {self.about.steps} of its {self.budget} steps"
            )
        return self.planner

    def _has_room(self, lanes: int) -> bool:
        """Return whether the budget has room for another rollout as long as the longest so far."""
        longest = max((one.steps for one in self.episodes), default=1)
        rollouts = self.about.episodes + 1
        return self.about.steps + lanes * longest <= self.budget and rollouts * lanes <= MOST_EPISODES // 2

    def _roll_out(self, envs: Lanes, file: Path) -> None:
        number, began = self.about.episodes, time.monotonic()
        first = number == 0
        self.planner.begin = 1000 * number  # other random numbers than in the episodes before
        controller = RandomActions(self.about.action_size, self.about.seed) if first else self.planner
        episodes = roll_out(envs, controller, self.about.seed, number)
        save_episodes(file, episodes, {"seconds": f"{time.monotonic() - began:.3f}"})

    def _learn_from(self, episodes: list[Recorded], metadata: dict[str, str]) -> None:
        number, began = self.about.episodes, time.monotonic()
        row: dict[str, Any] = {"episode": number}
        for one in episodes:  # also before anything is learned: a reward that cannot be used costs one episode
            wanted = rewards_of(self.reward, self.about.form, one.observation, one.action, one.after)
            row["reward_gap"] = float(np.abs(wanted - one.reward).mean())
        if number:
            horizon = self.about.planner.horizon
            seen = assess(self._fitted.model, episodes[0].observation, episodes[0].action, episodes[0].after, horizon)
            for steps in (steps for steps in AHEAD if steps <= len(seen.error)):
                row |= {f"error_{steps}": seen.error[steps - 1], f"predicted_{steps}": seen.predicted[steps - 1]}
                row[f"covered_{steps}"] = seen.covered[steps - 1]
        self.episodes += episodes
        self._fit(number, row)
        steps = self.about.steps + sum(one.steps for one in episodes)
        self.about = replace(self.about, episodes=number + 1, steps=steps)
        row |= {
            "step": steps,
            "return": float(np.mean([one.reward.sum() for one in episodes])),
            "seconds_acting": float(metadata["seconds"]),
            "seconds_fitting": time.monotonic() - began,
        }
        self._save(row)

    def _fit(self, number: int, row: dict[str, Any]) -> None:
        steps = joined(self.episodes)
        seen = _padded(steps, self._capacity)
        key = jax.random.fold_in(jax.random.key(self.about.seed), number)
        updates = updates_for(steps.steps, self.about.model)
        fitted, losses = fit(self._fitted, seen, updates, self.about.model, key)
        row |= {"loss": float(losses.mean())}
        if not np.isfinite(losses).all() or not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fitted)):
            raise ControllerError(
                f"the model diverged after episode {number}: its loss is {float(losses.mean()):g}. A lower learning_rate than "
                f"{self.about.model.learning_rate:g} may help; the episodes so far are in {self.directory}"
            )
        self._fitted = fitted

    def _save(self, row: dict[str, Any]) -> None:
        self.rows.append({name: _short(value) for name, value in row.items()})
        names = list(dict.fromkeys(name for one in reversed(self.rows) for name in one))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="nan", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        storage.write_whole(self.directory / LEARNING, lambda file: file.write_text(text.getvalue()))
        storage.write_arrays(self.directory / LEARNER, to_arrays(self._fitted, "learner"), {"about": storage_json(self.about)})
        self.planner = PETSPlanner(self._fitted.model, self.about, self.reward)
        self.planner.save(self.directory)


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float | np.floating) else value


def _padded(steps: Recorded, capacity: int) -> Seen:
    """Return the steps in arrays of a fixed length, so that the fit is compiled once."""

    def rows(array: np.ndarray) -> np.ndarray:
        whole = np.zeros((capacity, array.shape[1]), np.float32)
        whole[: len(array)] = array
        return whole

    change = np.asarray(steps.after, np.float64) - steps.observation
    return Seen(rows(steps.observation), rows(steps.action), rows(change), np.int32(steps.steps))
