"""The state of training at the end of a cycle: in memory, and as a run's checkpoint."""

from typing import NamedTuple

import jax
import numpy as np

from residual_rl.errors import RunError
from residual_rl.evaluation import Outcome
from residual_rl.learning import algorithm as learning
from residual_rl.learning.algorithm import Learner
from residual_rl.learning.bandit import Scores
from residual_rl.learning.replay import Replay, example_transition
from residual_rl.learning.serialization import from_arrays, to_arrays
from residual_rl.runs.files import CHECKPOINT
from residual_rl.runs.run import Run
from residual_rl.training.experiment import Experiment


class State(NamedTuple):
    """Everything that a run needs to resume from the end of a cycle."""

    learner: Learner
    replay: Replay
    cycle: int
    """Cycles done."""
    step: int
    """Environment steps done, those of a preparation included. A dropped episode counts as if it had gone on to the horizon."""
    evaluated: int
    """The step after which the last evaluation was; -1 before the first."""
    mean_values: list[float]
    """Mean Q of each cycle, NaN in a cycle without updates; it decides when burn-in ends."""
    measured: float
    """Success rate or mean return in the last evaluation, as the task is measured."""
    best: tuple[float, int]
    """The same of the selected policy, less that of the base if the base does not repeat itself; and its step."""
    wall_seconds: float
    dropped_in_a_row: int
    scores: Scores
    """Scores of the latest episodes, by the arm that drove them."""
    base: Outcome | None
    """The base's outcome in the last evaluation, on the initial states of selection; None before the first."""
    repeats: bool
    """Whether the base repeats itself from the same initial states, so that its outcome can be reused."""


def fresh(training: Experiment) -> State:
    """Return the state before the first cycle."""
    config, spec = training.config, training.task.spec
    learner = learning.init(config.algorithm, spec, jax.random.key(config.seed))
    example = example_transition(spec, config.algorithm.stored(spec))
    replay = Replay(example, min(config.replay_capacity, config.steps + training.longest_cycle))
    return State(
        learner,
        replay,
        cycle=0,
        step=training.steps_prepared,
        evaluated=-1,
        mean_values=[],
        measured=-np.inf,
        best=(-np.inf, 0),
        wall_seconds=training.seconds_prepared,
        dropped_in_a_row=0,
        scores=config.algorithm.exploration.after((), []),
        base=None,
        repeats=False,
    )


def save(run: Run, state: State) -> None:
    """Write the run's checkpoint."""
    arrays = to_arrays(state.learner, "learner")
    arrays |= {f"replay/{name}": array for name, array in state.replay.arrays().items()}
    if state.base is not None:
        arrays |= {f"base/{name}": array for name, array in state.base._asdict().items()}
    counters = {
        "cycle": state.cycle,
        "step": state.step,
        "mean_values": state.mean_values,
        "evaluated": state.evaluated,
        "measured": state.measured,
        "best": state.best,
        "wall_seconds": state.wall_seconds,
        "dropped_in_a_row": state.dropped_in_a_row,
        "scores": state.scores,
        "repeats": state.repeats,
    }
    run.save_checkpoint(arrays, counters)


def restored(training: Experiment) -> State | None:
    """Return the state in the run's checkpoint; None if there is none.

    Raises:
        RunError: it is damaged.
    """
    checkpoint = training.run.load_checkpoint()
    if checkpoint is None:
        return None
    arrays, counters = checkpoint
    new = fresh(training)
    source = str(training.run.path / CHECKPOINT)
    try:
        of_replay = {name.removeprefix("replay/"): array for name, array in arrays.items() if name.startswith("replay/")}
        new.replay.restore(of_replay, f"{source}, replay")
        return new._replace(
            learner=from_arrays(new.learner, arrays, "learner", source),
            cycle=int(counters["cycle"]),
            step=int(counters["step"]),
            mean_values=[float(value) for value in counters["mean_values"]],
            evaluated=int(counters["evaluated"]),
            measured=float(counters["measured"]),
            best=(float(counters["best"][0]), int(counters["best"][1])),
            wall_seconds=float(counters["wall_seconds"]),
            dropped_in_a_row=int(counters["dropped_in_a_row"]),
            scores=tuple(tuple(float(score) for score in scores) for scores in counters["scores"]),
            base=Outcome(*(arrays[f"base/{name}"] for name in Outcome._fields)) if "base/success" in arrays else None,
            repeats=bool(counters["repeats"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RunError(f"{source} is damaged: {error}") from error
