"""Roll out one cycle of episodes with base plus residual; the only place that handles the ends of episodes.

Environments do not reset themselves here (autoreset mode DISABLED): `step` always returns the observation that followed the
action, also at the end of an episode, and the base is queried at it like at any other. If episodes end at different times, a
lane that has ended repeats its last observation until all have ended; these repetitions are not recorded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from residual_rl.controllers import Controller, naming_step, propose, start_episodes
from residual_rl.controllers.answers import tolerating_failures
from residual_rl.errors import ControllerError, EpisodesLost, WorldError
from residual_rl.residual import Composer, Composition
from residual_rl.tasks.lanes import Lanes
from residual_rl.types import (
    Acted,
    Array,
    Measure,
    Observation,
    Transition,
    map_observation,
    numbers_of,
    row_of,
    select,
    without_state,
)

FAILED = 10
"""A failed episode counts as this many times the longest one, where times are averaged. Source: the score PAR10, with which
solvers are compared that may run out of time."""
LARGEST = float(np.finfo(np.float32).max)
"""The largest number in single precision, which replay and networks use."""

Actor = Callable[[Observation, np.ndarray, int], np.ndarray | Acted]
"""`Observation[E], base_action [E, A], step -> residual [E, A]`, or with it the extra arrays to store."""


class Episode(NamedTuple):
    """One recorded episode."""

    transitions: Transition
    """[T]"""
    success: bool
    """Whether the goal was reached at the last step."""
    lane: int
    """Its lane."""

    def score(self, by: Measure, horizon: int) -> float:
        """Return its success, its return, or minus its steps, which a failure has `FAILED` times as many of as the horizon."""
        if by == "time":
            return -float(len(self.transitions.reward) if self.success else FAILED * horizon)
        return float(self.success) if by == "success" else float(self.transitions.reward.sum())


class ControllerFailure(str):
    """The reason for a lost episode if the controller failed in it, not the environment."""

    @property
    def is_at_start(self) -> bool:
        """Whether it failed before any action, so that it fails with any policy."""
        return self.endswith("(step 0 of the episode)")


class Watch:
    """Step environments and detect lanes that break.

    A lane with an observation that is not finite is broken from then on. Its controller gets valid observations instead, so
    that it does not fail because of the environment, and the other lanes continue. A lane in which the controller fails is
    broken too, and continues with its last action.
    """

    def __init__(self, envs: Lanes):
        self.envs = envs
        self.broken = np.zeros(envs.num_envs, dtype=bool)
        self._some_broken = False
        self.ended = np.zeros(envs.num_envs, dtype=bool)
        self.all_ended = False
        self.lengths = np.zeros(envs.num_envs, dtype=int)
        """Steps of each episode that has ended."""
        self.reasons: dict[int, str] = {}
        """The reasons of broken lanes."""
        self.info: dict[str, Any] = {}
        """What the environments told at the latest step."""
        self.steps = 0
        self._shown: Observation | None = None
        self._answered: Observation | None = None
        self._terminated = np.zeros(envs.num_envs, dtype=bool)

    def reset(self, seeds: Sequence[int]) -> Observation:
        """Start an episode in each lane.

        Raises:
            EpisodesLost: the environment raised, or none could be reset.
            WorldError: no environment is left.
        """
        try:
            observation, info = self.envs.reset(seed=list(seeds))
        except WorldError:
            raise
        except Exception as error:
            raise EpisodesLost(f"reset raised {type(error).__name__}: {error}") from error
        self.broken = ~_sound(observation, np.zeros(self.envs.num_envs))
        self._some_broken = bool(self.broken.any())
        self.ended, self.all_ended = np.zeros(self.envs.num_envs, dtype=bool), False
        self.lengths = np.zeros(self.envs.num_envs, dtype=int)
        self.reasons = dict(info.get("errors", {}))
        self.steps = 0
        self._answered = None
        self._explain(observation, np.zeros(self.envs.num_envs), "what reset shows is not finite: ")
        if self.broken.all():
            raise EpisodesLost(next(iter(self.reasons.values())))
        sound = np.where(self.broken, np.argmin(self.broken), np.arange(self.envs.num_envs))
        self._shown = select(observation, sound)
        return self._shown

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Query the controller for all lanes. A lane in which it fails is broken, its action is zero, and the others continue.

        Raises:
            ControllerError: it fails in every lane; names the step.
        """
        with naming_step(self.steps), tolerating_failures() as failed:
            yield
            # A lane that the environment terminated needs no further action; a truncated one needs the first.
            just_cut = (self.lengths == self.steps) & ~self._terminated
            new = [lane for lane in failed if not self.broken[lane] and (not self.ended[lane] or just_cut[lane])]
            if len(new) == len(self.broken):
                raise ControllerError(failed[new[0]])
        if not failed:
            self._answered = self._shown
        elif new:
            self._break(new, failed)

    def _break(self, lanes: list[int], why: dict[int, str]) -> None:
        for lane in lanes:
            self.reasons[lane] = ControllerFailure(f"{why[lane]} (step {self.steps} of the episode)")
            self.broken[lane] = True
        self._some_broken = True
        assert self._shown is not None
        failed = np.isin(np.arange(len(self.broken)), lanes)
        sound = select(self._shown, np.where(failed, np.argmin(failed), np.arange(len(failed))))
        self._shown = _where(failed, self._answered or sound, self._shown)

    def why(self) -> dict[int, str]:
        """Return the reason of each broken lane."""
        return {lane: self.reasons[lane] for lane in np.flatnonzero(self.broken).tolist()}

    def _explain(self, observation: Observation, reward: np.ndarray, where: str) -> None:
        """Record, for each lane that has just broken for no other reason, which value is not finite."""
        for lane in np.flatnonzero(self.broken).tolist():
            if lane not in self.reasons:
                self.reasons[lane] = where + _not_finite(self.envs, observation, reward, lane)

    def step(self, action: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the result of `envs.step` with success `[E]` in place of info. A broken lane has reward 0 and no success.

        Raises:
            EpisodesLost: the environment raised.
            WorldError: no environment is left.
        """
        try:
            observation, reward, terminated, truncated, info = self.envs.step(action)
        except WorldError:
            raise
        except Exception as error:
            raise EpisodesLost(f"step {self.steps} raised {type(error).__name__}: {error}") from error
        self.steps += 1
        self.info = info
        ended = terminated | truncated
        self._terminated = terminated
        if ended.any():
            self.lengths = np.where(ended & ~self.ended, self.steps, self.lengths)
            self.ended = self.ended | ended
            self.all_ended = bool(self.ended.all())
        success = info["is_success"]
        if self._some_broken or not _all_finite(observation, reward):
            self.broken = self.broken | ~_sound(observation, reward)
            self._some_broken = bool(self.broken.any())
        if self._some_broken:
            self.reasons = info.get("errors", {}) | self.reasons
            self._explain(observation, reward, f"an observation or reward was not finite: step {self.steps - 1}, ")
            observation = _where(self.broken, self._shown or observation, observation)
            reward, success = np.where(self.broken, 0.0, reward), success & ~self.broken
        self._shown = observation
        return observation, reward, terminated, truncated, success


def base_policy(controller: Controller, composition: Composition, action_size: int) -> Callable[[Observation], np.ndarray]:
    """Return `Observation[B] -> base_action [B, A]`: the controller's proposal, checked, as it takes part in the sum."""
    return lambda observation: composition.base_action(propose(controller, observation, action_size))


def collect(
    envs: Lanes,
    controller: Controller,
    composition: Composition,
    act: Actor,
    seeds: list[int],
    share: np.ndarray | float = 1.0,
) -> tuple[list[Episode], list[str]]:
    """Roll out one episode in each lane, from `seeds` `[E]`, with a share `[E, 1]` of the base action; it is recorded whole.

    Returns:
        The episodes, and the reasons why others were dropped: the environment raised, or an observation was not finite; or the
        controller raised, or proposed an invalid action, which is a `ControllerFailure`.
    """
    base = base_policy(controller, composition, envs.task_spec.action_size)
    compose = Composer(composition)
    watch = Watch(envs)
    shown: list[Observation] = []
    proposed: list[np.ndarray] = []
    done: list[tuple[np.ndarray, ...]] = []
    extras: list[Mapping[str, Array]] = []
    success = np.zeros(envs.num_envs, dtype=bool)
    try:
        observation = watch.reset(seeds)
        with watch.asking():
            start_episodes(controller, envs.num_envs)
            base_action = base(observation)
        shown.append(without_state(observation))
        proposed.append(base_action)
        while not watch.all_ended:
            shared = share * base_action
            acted = act(shown[-1], shared, len(done))
            residual, extra = acted if isinstance(acted, Acted) else (acted, {})
            action = compose(shared, residual)
            observation, reward, terminated, truncated, success = watch.step(action)
            with watch.asking():
                base_action = base(observation)
            shown.append(without_state(observation))
            proposed.append(base_action)
            done.append((residual, action, reward, terminated, truncated))
            extras.append(extra)
    except WorldError as error:
        return [], [str(error)] * envs.num_envs
    except ControllerError as error:
        return [], [ControllerFailure(error)] * envs.num_envs
    steps = _over_time(shown, proposed, done, extras, envs.task_spec.discount)
    sound = [
        Episode(_lane(steps, lane, int(watch.lengths[lane])), bool(success[lane]), lane)
        for lane in np.flatnonzero(~watch.broken).tolist()
    ]
    return sound, list(watch.why().values())


def _all_finite(observation: Observation, reward: np.ndarray) -> bool:
    """Test cheaply: if the sums of squares fit into single precision, so does every entry. Else `_sound` decides."""
    arrays: list[Any] = [*numbers_of(observation), reward]
    return all(np.vdot(array, array) <= LARGEST for array in arrays)


def _sound(observation: Observation, reward: np.ndarray) -> np.ndarray:
    """Return whether all values of a lane are finite in the replay's precision: `[E]`."""
    arrays: list[Any] = [*numbers_of(observation), reward[:, None]]
    return np.all(np.abs(np.concatenate(arrays, axis=1)) <= LARGEST, axis=1)


def _not_finite(envs: Lanes, observation: Observation, reward: np.ndarray, lane: int) -> str:
    """Return name and value of a lane's entry that is not finite, or too large for single precision."""
    rows = {"reward": reward[lane : lane + 1]} | {key: array[lane] for key, array in observation.items()}  # type: ignore
    layout = getattr(envs, "layout", None)  # of a user-supplied environment, whose entries have names
    if layout is not None and "shown" in rows and (named := layout.packing.unsound_number(rows.pop("shown"))):
        return named
    if layout is not None:  # its state, if there is one, holds the environment's own numbers
        row = rows.get("state", np.concatenate([rows[key] for key in ("observation", "achieved_goal", "desired_goal")]))
        rows = {"reward": rows["reward"], "state": row}
    for key, row in rows.items():
        bad = np.flatnonzero(~(np.abs(row) <= LARGEST))
        if len(bad):
            name = key if key == "reward" else layout.name_of(int(bad[0])) if layout else f"{key}[{bad[0]}]"
            return f"{name} is {row[bad[0]]:g}"
    return "the observation is too large, once centred and scaled"


def _where(mask: np.ndarray, first: Observation, second: Observation) -> Observation:
    return map_observation(lambda one, other: np.where(mask[:, None], one, other), first, second)


def _over_time(
    shown: list[Observation],
    proposed: list[np.ndarray],
    done: list[tuple[np.ndarray, ...]],
    extras: list[Mapping[str, Array]],
    discount: float,
) -> Transition:
    """Return the transitions of all lanes from observations and proposals before and after each step: axes `[T, E]`."""
    observation = map_observation(lambda *arrays: _stacked(arrays), *shown)
    base_action = _stacked(proposed)
    residual, action, reward, terminated, truncated = (_stacked(values) for values in zip(*done, strict=True))
    return Transition(
        observation=map_observation(lambda array: array[:-1], observation),
        base_action=base_action[:-1],
        residual=residual,
        action=action,
        reward=reward,
        terminated=terminated,
        truncated=truncated,
        discount=np.where(terminated, 0.0, discount),
        next_observation=map_observation(lambda array: array[1:], observation),
        next_base_action=base_action[1:],
        extras={name: _stacked([extra[name] for extra in extras]) for name in extras[0]},
    )


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return the result of `np.stack`, which takes several times as long for hundreds of small arrays."""
    return np.concatenate(arrays).reshape(len(arrays), *arrays[0].shape)


def _lane(steps: Transition, lane: int, length: int) -> Transition:
    """Return the transitions of one lane until its end: leading axis `[T]`."""
    return Transition(*(row_of(values, np.s_[:length, lane]) for values in steps))
