"""A few recorded steps of the base alone, by which a run recognises another base or environment of the same name.

Quantities that are not reproducible are neither recorded nor compared.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from residual_rl.controllers import Controller, is_random, propose, reads_state, start_episodes
from residual_rl.encoders.perception import Perception
from residual_rl.errors import ControllerError, RunError
from residual_rl.runs.answers import answers_of, seeded_answers_of, to_ask
from residual_rl.seeds import Purpose
from residual_rl.storage import digest, read_arrays, write_arrays
from residual_rl.tasks.lanes import Lanes
from residual_rl.types import Observation, map_observation, without_state

FIRST_LOOK = "first-look.safetensors"
STEPS = 10
MOST_BYTES = 1 << 23  # of what an environment with an encoder shows
CLOSE = 1e-3
"""Tolerance, as a share of an action in [-1, 1] or of an entry's spread: another machine, batch size or version may differ."""


class FirstLook(NamedTuple):
    """Steps of a base alone `[T, E]`."""

    observation: Observation
    """[T, E, ...] the observations."""
    proposed: np.ndarray | None
    """[T, E, A] the base's proposals; None if it is stochastic, or they are not reproducible."""
    action: np.ndarray
    """[T, E, A] the executed actions, in [-1, 1]."""
    reward: np.ndarray | None
    """[T, E]; None if the environment is not reproducible."""
    seeded: np.ndarray | None = None
    """[T, E, A] the proposals of a stochastic base whose generators are seeded, see `seeded_answers_of`."""


def take_first_look(lanes: Lanes, controller: Controller, with_environment: bool = True) -> FirstLook | None:
    """Roll a base out for a few steps, twice; None if the environment fails at once.

    If the base fails, what came before is kept; if it fails at once, what the environment does when nothing is done.

    Args:
        lanes: to roll out in.
        controller: the base; a copy of it is used, if it can be copied.
        with_environment: whether to record the environment's observations and rewards too.
    """
    if reads_state(controller):
        return None  # states are not stored, and it cannot be re-queried without one
    seeds = [Purpose.PROBE + lane for lane in range(lanes.num_envs)]
    action_size = lanes.task_spec.action_size
    try:
        asked = to_ask(controller)
        start_episodes(asked, len(seeds))
        shown, proposed, reward = _roll_out_briefly(lanes, seeds, lambda seen, _: propose(asked, seen, action_size))
        answers = bool(shown)
        if not answers:
            idle = np.zeros((len(seeds), action_size))
            shown, proposed, reward = _roll_out_briefly(lanes, seeds, lambda *_: idle)
        actions = proposed.clip(-1.0, 1.0)
        again, _, other = _roll_out_briefly(lanes, seeds, lambda _, step: actions[step], len(actions))
        same_world = len(again) == len(shown) and _difference(_stack(shown), _stack(again)) is None and _is_close(reward, other)
        # A copy with another random state, because the next start of Python seeds it anew.
        same_base = answers_of(controller, _stack(shown), action_size, chance=1) if answers else None
        seeded = seeded_answers_of(controller, _stack(shown), action_size) if answers and is_random(controller) else None
    except Exception:  # a failure here happens again in the run, and is reported there
        return None
    stacked = _stack(shown)
    observation = map_observation(lambda array: array.astype(np.float64), without_state(stacked))
    if "shown" in stacked:
        observation["shown"] = stacked["shown"]
        lanes_kept = slice(max(1, MOST_BYTES // observation["shown"][:, 0].nbytes))
        observation = map_observation(lambda array: array[:, lanes_kept], observation)
        proposed, actions, reward = (array[:, lanes_kept] for array in (proposed, actions, reward))
        same_base, seeded = (None if array is None else array[:, lanes_kept] for array in (same_base, seeded))
    keeps_world = with_environment and same_world
    keeps_base = same_base is not None and not is_random(controller) and _is_close(proposed, same_base, least=1.0)
    return FirstLook(observation, proposed if keeps_base else None, actions, reward if keeps_world else None, seeded)


def save_first_look(path: Path, look: FirstLook) -> None:
    """Write a first look into a run directory.

    Raises:
        RunError: it cannot be written.
    """
    arrays: dict[str, Any] = {**look.observation, "action": look.action}
    arrays |= {name: value for name in ("proposed", "reward", "seeded") if (value := getattr(look, name)) is not None}
    write_arrays(path / FIRST_LOOK, arrays, {"first look": json.dumps({"digest": digest(arrays, {})})})


def read_first_look(path: str | Path) -> FirstLook | None:
    """Return a run's first look; None if it has none.

    Raises:
        RunError: the file is damaged.
    """
    file = Path(path) / FIRST_LOOK
    if not file.exists():
        return None
    arrays, metadata = read_arrays(file)
    try:
        sound = digest(arrays, {}) == json.loads(metadata["first look"])["digest"]
        observation = Observation(**{key: arrays[key] for key in ("observation", "achieved_goal", "desired_goal")})
        if "shown" in arrays:
            observation["shown"] = arrays["shown"]
        look = FirstLook(observation, arrays.get("proposed"), arrays["action"], arrays.get("reward"), arrays.get("seeded"))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise RunError(f"{file} is damaged: {error}") from error
    if not sound:
        raise RunError(f"{file} is damaged: what it holds is not what was saved")
    return look


def check_same_base(path: str | Path, controller: Controller, name: str, action_size: int) -> None:
    """Compare a base's proposals with those that a run recorded.

    Raises:
        ControllerError: it is another base of the same name; says how they differ.
        RunError: the run's record is damaged.
    """
    look = read_first_look(path)
    if look is None:
        return
    before, now = look.proposed, None
    if before is not None:
        now = answers_of(controller, look.observation, action_size)
    elif (before := look.seeded) is not None:
        now = seeded_answers_of(controller, look.observation, action_size)
    if before is None or now is None:
        return
    place = _first_difference(before, now, least=1.0)
    if place is None:
        return
    step, lane, entry = place
    shown = np.array2string(look.observation["observation"][step, lane], precision=4, threshold=8)
    raise ControllerError(
        f"{path} improves another {name!r}: in step {step} of its first episode, shown {shown}, that one proposed "
        f"{before[step, lane, entry]:.4g} in entry {entry} (in units where the bounds are -1 and 1), this one proposes "
        f"{now[step, lane, entry]:.4g}. Pass the one that was improved, or begin a run of its own in another directory"
    )


def check_same_environment(path: str | Path, lanes: Lanes, name: str) -> None:
    """Compare an environment's first observations and rewards with those that a run recorded.

    Raises:
        RunError: it is another environment of the same name, says how they differ; or the run's record is damaged.
    """
    look = read_first_look(path)
    if look is None or look.reward is None:
        return
    size = min(lanes.num_envs, look.action.shape[1])
    seeds = [Purpose.PROBE + lane for lane in range(lanes.num_envs)]
    actions = np.zeros((len(look.action), lanes.num_envs, look.action.shape[2]))
    actions[:, :size] = look.action[:, :size]
    try:
        shown, _, reward = _roll_out_briefly(lanes, seeds, lambda _, step: actions[step], len(actions))
    except Exception:  # a failure here happens again in the run, and is reported there
        return
    steps = min(len(reward), len(look.reward))
    there = map_observation(lambda array: array[:steps, :size], look.observation)
    here = map_observation(lambda array: array[:steps, :size], _stack(shown))
    what = _difference(there, here)
    if what is None and len(reward) != len(look.reward):
        what = f"its first episode lasted {len(look.reward)} of {STEPS} steps at least, and now ends after {len(reward)}"
    if what is None and not _is_close(look.reward[:steps, :size], reward[:steps, :size]):
        step, lane = _first_difference(look.reward[:steps, :size], reward[:steps, :size]) or (0, 0)
        before, now = look.reward[step, lane], reward[step, lane]
        what = f"step {step} of its first episode was rewarded with {before:.6g}, and now with {now:.6g}"
    if what is not None:
        raise RunError(
            f"{path} was written in another {name!r}: {what}. Pass the environment in which it was written, or begin a run in "
            "another directory"
        )


def check_same_encoder(path: str | Path, perceive: Perception) -> None:
    """Compare the features of what a run's environment showed at first with those that its encoder made.

    Args:
        path: the run's directory.
        perceive: with the environment's layout, without units.

    Raises:
        RunError: it is another encoder of the same name, or what the run keeps is damaged.
        EncoderError: it returns no features.
    """
    look, encoder = read_first_look(path), perceive.encoder
    if look is None or encoder is None or "shown" not in look.observation:
        return
    shown, there = look.observation["shown"], look.observation["observation"]
    here = perceive(shown.reshape(-1, shown.shape[-1]))["observation"].reshape(there.shape)
    if (place := _first_difference(there, here, least=1.0)) is not None:
        raise RunError(
            f"{path} was learned on the features of another encoder {encoder.name!r}: feature {place[-1]} in step {place[0]} "
            f"of its first episode was {there[place]:.6g}, and is now {here[place]:.6g}. Pass the one that it was learned on"
        )


def _roll_out_briefly(
    lanes: Lanes, seeds: list[int], act: Any, steps: int = STEPS
) -> tuple[list[Observation], np.ndarray, np.ndarray]:
    """Return the observations before each of a few steps, the unclipped actions, and the rewards.

    They end with an episode, and before the base or the environment fails.
    """
    observation, info = lanes.reset(seed=list(seeds))
    shown, actions, rewards = [], [], []
    for step in range(steps):
        if info.get("errors"):
            break
        seen = map_observation(np.array, observation)
        try:
            action = np.array(act(seen, step))
        except ControllerError:
            break
        observation, reward, terminated, truncated, info = lanes.step(action.clip(-1.0, 1.0))
        if info.get("errors"):
            break
        shown.append(seen)
        actions.append(action)
        rewards.append(np.array(reward))
        if (terminated | truncated).any():
            break
    return shown, np.array(actions), np.array(rewards)


def _stack(shown: list[Observation]) -> Observation:
    """Return observations `[T, E, ...]` without those in the environment's units, which the observation has here anyway."""
    stacked = map_observation(lambda *arrays: np.stack(arrays), *shown)
    stacked.pop("state", None)
    return stacked


def _difference(before: Observation, now: Observation) -> str | None:
    for key in ("observation", "achieved_goal", "desired_goal"):
        one, other = before[key], now[key]
        if one.shape == other.shape and (place := _first_difference(one, other)) is not None:
            step, entry = place[0], place[-1]
            when = "its first episode started with" if step == 0 else f"after {step} steps its first episode showed"
            return f"{when} {one[place]:.6g} in entry {entry} of {key}, and now {other[place]:.6g}"
    return None


def _first_difference(one: np.ndarray, other: np.ndarray, least: float = 0.0) -> tuple[int, ...] | None:
    """Return the first index at which two arrays `[T, ...]` differ by more than the tolerance of their last axis' entries."""
    size = np.abs(one).max(axis=tuple(range(one.ndim - 1)), initial=0.0)
    apart = ~(np.abs(one - other) <= CLOSE * size + 1e-6 * max(size.max(initial=0.0), least))
    return tuple(np.argwhere(apart)[0].tolist()) if apart.any() else None


def _is_close(one: np.ndarray, other: np.ndarray, least: float = 0.0) -> bool:
    return one.shape == other.shape and _first_difference(one, other, least) is None
