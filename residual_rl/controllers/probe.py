"""Find a controller's traits by calling copies of it a few times; the controller itself is not changed."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from residual_rl.controllers.adapted import Adapted, Character, EpisodeCopies, Lanes, PerLane
from residual_rl.controllers.controller import is_stateful, name_of, propose, restart, start_episodes
from residual_rl.controllers.copying import CannotCopy, copy_of
from residual_rl.controllers.episode_start import keeps_lanes, of_one_episode, takes_no_mask
from residual_rl.errors import ControllerError
from residual_rl.processes import usable_cores
from residual_rl.spaces import Layout
from residual_rl.types import Observation, map_observation, select, with_goal

ROWS = 5  # observations in a query, at least
TIMED = 3  # calls
SLOW = 0.5  # milliseconds for each observation; hindsight re-queries about ten thousand a cycle
WORTH_PROCESSES = 2.0  # milliseconds for each observation; distributing a batch takes about half of one
REPEATS = 4  # of a query
FAST, MORE_REPEATS = 0.2, 40  # milliseconds for each observation; a counter of steps may show only after a while
AGAIN = 20  # observations at which a slow controller is queried a second time
SAME = 1e-3  # of an action in [-1, 1]; a difference that another batch size or machine may cause


def character_of(
    call: Callable[[Any], Any],
    layout: Layout,
    observation: Observation,
    lanes: int | None,
    tell: Callable[[str], None] = lambda line: None,
) -> Character:
    """Find a controller's traits by querying copies at a few observations `[N]`; declared traits take precedence.

    Two copies get the same queries. If their actions differ, the controller is stochastic. If they agree, but the action for
    one observation changes between queries, it is stateful.

    Args:
        call: the controller.
        layout: of its environment.
        observation: from the starts of episodes.
        lanes: number of parallel episodes; None for more than one.
        tell: called with a line about each trait that could not be found.

    Raises:
        ControllerError: it cannot be called, or cannot be used in several parallel episodes.
    """
    name = name_of(call)
    rows = ROWS
    while rows in (*layout.action_shape, *(length for entry in layout.of_environment.observation for length in entry.shape)):
        rows += 1  # so that no axis of a single observation looks like a batch
    batch = select(observation, np.arange(rows) % len(observation["observation"]))
    copies, why = _copies_of(call)
    declared = {key: getattr(call, key, None) for key in ("takes_batch", "is_random", "is_stateful")}
    own_lanes, has_reset = keeps_lanes(call), is_stateful(call)
    if declared["is_stateful"] is False and not own_lanes:
        has_reset = False
    takes_batch = True if own_lanes else declared["takes_batch"]
    if takes_batch is None:
        takes_batch = _takes_batch(copies, layout, batch, name)
    plain = Character(takes_batch, False, own_lanes, bool(layout.goal), False, 0.0)

    taken = _milliseconds(Adapted(copies(0), layout, plain), batch)
    each = taken / rows
    repeats = MORE_REPEATS if each < FAST else REPEATS
    is_random, stateful = bool(declared["is_random"]), has_reset or bool(declared["is_stateful"])
    if stateful:
        if declared["is_random"] is None:
            is_random = _differs(
                [_propose_at_start(copies(chance), layout, plain, own_lanes, batch, takes_batch) for chance in range(REPEATS)]
            )
    elif declared["is_random"] is not True:
        first = _query_repeatedly(Adapted(copies(0), layout, plain), batch, repeats)
        changes = _differs(first)
        if why and changes:
            is_random = declared["is_random"] is None
            tell(
                f"{name} gives different actions for the same observation, and cannot be copied ({why}), so whether it is "
                "stochastic or stateful is not known: declare is_random = True or is_stateful = True. It is taken to be random"
            )
        elif declared["is_random"] is None:
            second = _query_repeatedly(Adapted(copies(1), layout, plain), batch, repeats)
            is_random = len(first) != len(second) or _differs([np.stack(first), np.stack(second)])
        if changes and not is_random and not why and declared["is_stateful"] is None:
            stateful = True
            tell(
                f"{name} is stateful: its action for the same observation depends on earlier ones, alike in all copies. Each "
                "episode gets a copy of it, as it is now. If that is wrong: is_stateful = False; a method reset(), which is "
                "called when an episode starts, makes copies cheaper"
            )
    kept: Lanes = "mask"
    if own_lanes and getattr(call, "makes_each", False):
        kept = "made"
    elif stateful and not own_lanes:
        kept = "copied"
        if why and not (lanes == 1 and has_reset):
            raise ControllerError(
                f"the state of {name!r} is that of one episode (its reset takes no mask), several run in parallel, and it "
                f"cannot be copied ({why}): pass residual_rl.per_lane(make), where make() returns a fresh one, or let "
                "reset(mask) and the call take a batch"
            )
    can_be_asked = not (is_random or stateful) and each <= SLOW
    return Character(
        takes_batch=takes_batch,
        is_random=is_random,
        is_stateful=stateful,
        reads_goal=bool(layout.goal) and getattr(call, "reads_goal", True),
        can_be_requeried=not (is_random or stateful) and getattr(call, "can_be_requeried", can_be_asked),
        milliseconds=round(taken if takes_batch else each, 4),
        lanes=kept,
    )


def one_to_try(call: Any, character: Character) -> Any:
    """Return a controller for a trial rollout: a copy if a rollout would change it."""
    if not (character.is_random or character.is_stateful):
        return call  # it may read the very environment that is stepped, which its copy could not
    return _copies_of(call)[0](0)


def judged_by_episodes(
    base: Adapted, character: Character, observation: Observation, proposed: np.ndarray, tell: Callable[[str], None]
) -> Character:
    """Compare a controller's proposals in its first episodes with its actions for the same observations afterwards.

    Args:
        base: the controller that was rolled out.
        character: its traits so far.
        observation: of all steps `[N]`.
        proposed: its proposals `[N, A]`, clipped to [-1, 1].
        tell: called with a line if it depends on something that it is not shown.

    Returns:
        The traits. A controller that depends on more than its observation is not re-queried, and the residual sees its
        proposals.
    """
    if character.is_random or character.is_stateful:
        return character
    name, size = base.__name__, base.layout.action_size
    if character.milliseconds > SLOW:
        rows = np.linspace(0, len(proposed) - 1, min(len(proposed), AGAIN)).astype(int)
        observation, proposed = select(observation, rows), proposed[rows]
    answers = propose(base, observation, size).clip(-1.0, 1.0)
    shown = np.concatenate([observation["observation"], observation["desired_goal"], observation["achieved_goal"]], axis=1)
    varied = bool(np.ptp(shown, axis=0).max(initial=0.0) > 0.0)
    constant = varied and bool((answers == answers[0]).all())
    if np.abs(answers - proposed).max(initial=0.0) > SAME:
        tell(
            f"{name} gives other actions than in its episodes when it is shown the same observations again: it depends on "
            "something that it is not shown, such as a clock, or a simulator that it reads. Its recorded proposals are kept"
        )
        return replace(character, is_random=True, can_be_requeried=False)
    if constant:
        tell(
            f"{name} proposes the same action for every observation, "
            f"{np.array2string(base.layout.from_unit(answers[0]), precision=4)}: if it reads a simulator of its own, such as "
            "an environment that it closes over, that is not the one that is controlled; let it read the observation that it "
            "is called with"
        )
    return character


def advice(call: Callable[[Any], Any], character: Character, lanes: int | None) -> str:
    """Return advice that would make a slow controller faster; empty if there is none."""
    per_lane = isinstance(call, PerLane)
    each = character.milliseconds / ROWS if per_lane else character.milliseconds
    if (character.takes_batch and not per_lane) or each < WORTH_PROCESSES or lanes == 1 or usable_cores() == 1:
        return ""
    return (
        f"{name_of(call)} takes {each:.2g} ms for each observation: residual_rl.in_processes(make) runs it in {usable_cores()} "
        "processes at once"
    )


def ignores_goal(controller: Adapted, observation: Observation) -> bool:
    """Return whether a controller proposes the same at other goals, for every observation `[N]` of its episodes.

    A controller that fails at some of them reads them.
    """
    desired, achieved = observation["desired_goal"], observation["achieved_goal"]
    size = controller.layout.action_size
    others = (np.roll(desired, 1, axis=0), achieved[::-1].copy(), desired + 0.1 * np.arange(1.0, 1.0 + desired.shape[1]))
    try:
        answer = propose(controller, observation, size)
        return all(np.array_equal(answer, propose(controller, with_goal(observation, other), size)) for other in others)
    except ControllerError:
        return False


def can_start(call: Any, layout: Layout, observation: Observation) -> np.ndarray:
    """Which starts of episodes `[N]` a controller has an action for, asked about one or about a batch of one: `[N]` bool."""
    copies, _ = _copies_of(call)
    plain = Character(True, False, keeps_lanes(call), bool(layout.goal), False, 0.0)
    characters = [plain] if keeps_lanes(call) else [replace(plain, takes_batch=False), plain]

    def answers(row: int, character: Character) -> bool:
        try:
            adapted = Adapted(copies(0), layout, character)
            start_episodes(adapted, 1)
            propose(adapted, select(observation, np.array([row])), layout.action_size)
        except ControllerError:
            return False
        return True

    rows = range(len(observation["observation"]))
    return np.array([any(answers(row, character) for character in characters) for row in rows])


def _copies_of(call: Any) -> tuple[Callable[[int], Any], str]:
    """Return a function that makes copies of a controller; if it cannot be copied, one that returns it, and the reason."""

    def started(one: Any) -> Any:
        if is_stateful(one) and takes_no_mask(one):
            one = of_one_episode(one)
            restart(one)
        return one

    if isinstance(call, PerLane) and not isinstance(call, EpisodeCopies):
        return (lambda chance: PerLane(call.make)), ""
    if getattr(call, "is_random", None) is False and getattr(call, "is_stateful", None) is False:
        return (lambda chance: started(call)), ""
    try:
        copy_of(call)
    except CannotCopy as error:
        return (lambda chance: started(call)), str(error)
    return (lambda chance: started(copy_of(call, chance))), ""


def _milliseconds(adapted: Adapted, batch: Observation) -> float:
    """Return the shortest duration of a call: other load can only add to it. The first call may compile."""
    times: list[float] = []
    for _ in range(1 + TIMED):
        start_episodes(adapted, len(batch["observation"]))
        clock = time.perf_counter()
        try:
            propose(adapted, batch, adapted.layout.action_size)
        except ControllerError:  # for example one that follows a path and has reached its end
            if not times:
                raise
            break
        times.append((time.perf_counter() - clock) * 1e3)
    return min(times[1:], default=times[0])


def _query_repeatedly(adapted: Adapted, batch: Observation, repeats: int) -> list[np.ndarray]:
    """Return its actions for one batch, repeatedly and after other batches; NaN for the first call that fails, and no more."""
    size, last = adapted.layout.action_size, len(batch["observation"]) - 1
    others = [select(batch, slice(last, None, -1)), _moved(batch)]
    answers: list[np.ndarray] = []
    for question in [batch] * repeats + others + [batch]:
        try:
            answer = propose(adapted, question, size)
        except ControllerError:
            if not answers:
                raise
            return [*answers, np.full_like(answers[0], np.nan)]
        if question is batch:
            answers.append(answer)
    return answers


def _moved(batch: Observation) -> Observation:
    """Other observations; what an environment showed as bytes stays as it is."""
    moved = map_observation(lambda array: array + 0.01, batch)
    return Observation(**{**moved, "shown": batch["shown"]}) if "shown" in batch else moved


def _propose_at_start(
    call: Any, layout: Layout, plain: Character, own_lanes: bool, batch: Observation, takes_batch: bool
) -> np.ndarray:
    """Return the proposals of a stateful controller at the start of episodes, one for each observation of a batch."""
    if own_lanes:
        adapted = Adapted(call, layout, plain)
        start_episodes(adapted, len(batch["observation"]))
        return propose(adapted, batch, layout.action_size)
    about = select(batch, slice(0, 1)) if takes_batch else batch
    return propose(Adapted(call, layout, plain), about, layout.action_size)


def _differs(answers: list[np.ndarray]) -> bool:
    return any(not np.array_equal(answers[0], answer, equal_nan=True) for answer in answers[1:])


def _takes_batch(copies: Callable[[int], Any], layout: Layout, batch: Observation, name: str) -> bool:
    """Return whether it is batched. If both forms work, but the actions differ, it gets one observation at a time."""
    answers, complaints = {}, {}
    for takes_batch in (True, False):
        adapted = Adapted(copies(0), layout, Character(takes_batch, False, False, True, False, 0.0))
        try:
            answers[takes_batch] = adapted(batch)
        except Exception as error:
            complaints[takes_batch] = f"{type(error).__name__}: {error}"
    if not answers:
        raise ControllerError(
            f"controller {name!r} answers neither a batch of observations ({complaints[True]}) nor a single one "
            f"({complaints[False]})"
        )
    if len(answers) == 1:
        return True in answers
    again = Adapted(copies(0), layout, Character(False, False, False, True, False, 0.0))(batch)
    deterministic = np.array_equal(again, answers[False], equal_nan=True)
    return not deterministic or np.allclose(answers[True], answers[False], rtol=1e-3, atol=1e-4, equal_nan=True)
