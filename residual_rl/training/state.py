"""The state of training at the end of a cycle: in memory, and as a run's checkpoint."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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


class TrainingState(NamedTuple):
    """Everything that a run needs to resume from the end of a cycle."""

    learner: Learner
    replay: Replay
    scores: Scores
    """Scores of the latest episodes, by the arm that drove them."""
    cycle: int = 0
    """Cycles done."""
    step: int = 0
    """Environment steps done, those of a preparation included. A dropped episode counts as if it had gone on to the horizon."""
    wall_seconds: float = 0.0
    dropped_in_a_row: int = 0
    mean_values: Sequence[float] = ()
    """Mean Q of each cycle, NaN in a cycle without updates; it decides when burn-in ends."""
    evaluated_at: int = -1
    """The step of the last evaluation; -1 before the first."""
    score: float = -np.inf
    """Success rate or mean return in the last evaluation, as the task is measured."""
    best_score: float = -np.inf
    """The same of the selected policy, less that of the base if the base does not repeat itself."""
    best_step: int = 0
    """The step of the selected policy."""
    repeats: bool = False
    """Whether the base repeats itself from the same initial states, so that its outcome can be reused."""
    base: Outcome | None = None
    """The base's outcome in the last evaluation, on the initial states of selection; None before the first."""


COUNTERS: dict[str, Callable[[Any], Any]] = {
    "cycle": int,
    "step": int,
    "wall_seconds": float,
    "dropped_in_a_row": int,
    "mean_values": lambda values: [float(value) for value in values],
    "evaluated_at": int,
    "score": float,
    "best_score": float,
    "best_step": int,
    "repeats": bool,
    "scores": lambda arms: tuple(tuple(float(score) for score in scores) for scores in arms),
}
"""The fields of a state that a checkpoint holds as JSON, and how each is read."""


def fresh(training: Experiment) -> TrainingState:
    """Return the state before the first cycle."""
    config, spec = training.config, training.task.spec
    learner = learning.init(config.algorithm, spec, jax.random.key(config.seed))
    example = example_transition(spec, config.algorithm.stored(spec))
    replay = Replay(example, min(config.replay_capacity, config.steps + training.longest_cycle))
    scores = config.algorithm.exploration.after((), [])
    return TrainingState(learner, replay, scores, step=training.steps_prepared, wall_seconds=training.seconds_prepared)


def save(run: Run, state: TrainingState) -> None:
    """Write the run's checkpoint."""
    arrays = to_arrays(state.learner, "learner")
    arrays |= {f"replay/{name}": array for name, array in state.replay.arrays().items()}
    if state.base is not None:
        arrays |= {f"base/{name}": array for name, array in state.base._asdict().items()}
    run.save_checkpoint(arrays, {name: getattr(state, name) for name in COUNTERS})


def restored(training: Experiment) -> TrainingState | None:
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
        read_counters: dict[str, Any] = {name: read(counters[name]) for name, read in COUNTERS.items()}
        return new._replace(
            learner=from_arrays(new.learner, arrays, "learner", source),
            base=Outcome(*(arrays[f"base/{name}"] for name in Outcome._fields)) if "base/success" in arrays else None,
            **read_counters,
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RunError(f"{source} is damaged: {error}") from error
