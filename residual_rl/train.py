"""The loop: collect a cycle of episodes with base plus residual, learn from the replay, evaluate, go on.

All chance of a cycle is derived from the run's seed and the cycle's number. So a run that was stopped goes on with the same
numbers: its state is the learner, the replay and a few counters.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from gymnasium.vector import AutoresetMode

from residual_rl.config import Config
from residual_rl.controllers import Controller, asked_again, name_of, reads_goal, reads_state
from residual_rl.diagnosis import Diagnosis
from residual_rl.errors import ControllerError, Interrupted, ResidualRLError, RunError, WorldError
from residual_rl.evaluation import Outcome, base_alone, evaluation_envs, evaluation_row, roll_out
from residual_rl.evidence import gather
from residual_rl.findings import diagnose
from residual_rl.learning import algorithm as learning
from residual_rl.learning.algorithm import Learner
from residual_rl.learning.replay import Replay
from residual_rl.learning.serialization import from_arrays, to_arrays
from residual_rl.policy import Residual, base_plus_residual
from residual_rl.rollout import Episode, base_policy, collect
from residual_rl.run import Run, read_rows
from residual_rl.seeds import Purpose, evaluation_seeds, training_seed
from residual_rl.tasks.task import Task
from residual_rl.tasks.vector import WorldVectorEnv
from residual_rl.types import Measure, Observation, Transition

DISABLED = AutoresetMode.DISABLED
MAX_DROPPED_IN_A_ROW = 40  # episodes; an environment that fails so often will not recover


class Progress(NamedTuple):
    """Where a run stands: what a progress bar shows."""

    step: int
    steps: int
    measured_by: Measure
    base: float
    """Its success rate or mean return, as the task is measured."""
    policy: float
    """The same of the policy, in the last evaluation."""


class State(NamedTuple):
    """All that a run needs to go on from the end of a cycle."""

    learner: Learner
    replay: Replay
    cycle: int
    """Cycles done."""
    evaluated: int
    """The cycle after which the last evaluation was; -1 before the first."""
    mean_values: list[float]
    """Mean Q of each cycle: what ends the burn-in."""
    measured: float
    """Success rate or mean return in the last evaluation, as the task is measured."""
    best: tuple[float, int]
    """The same of the selected policy, and its step."""
    wall_seconds: float
    dropped_in_a_row: int


class Selection(NamedTuple):
    """What every evaluation of a run is made with: the states that select the checkpoint, and how the base does from them."""

    envs: WorldVectorEnv
    seeds: list[int]
    base: Outcome


class Trial(NamedTuple):
    """What a run is about."""

    config: Config
    task: Task
    controller: Controller
    run: Run

    @property
    def cycle_steps(self) -> int:
        """Environment steps of a cycle."""
        return self.config.episodes_per_cycle * self.task.spec.horizon

    @property
    def cycles(self) -> int:
        """Cycles that the budget pays for."""
        return -(-self.config.steps // self.cycle_steps)

    @property
    def asks_again(self) -> bool:
        """Whether hindsight asks the controller at the new goals."""
        return self._should_ask_again and asked_again(self.controller)

    @property
    def keeps_base_actions(self) -> bool:
        """Whether hindsight should ask, but has to keep the recorded base actions because the controller cannot be asked."""
        return self._should_ask_again and not asked_again(self.controller)

    @property
    def _should_ask_again(self) -> bool:
        return self.config.algorithm.composition.relabel == "ask" and reads_goal(self.controller)


def train(
    config: Config,
    task: Task,
    controller: Controller,
    run: Run,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    num_threads: int | None = None,
    checkpoint_seconds: float = 30.0,
    tell: Callable[[str], None] = print,
) -> None:
    """Trains until the budget is spent; continues from the run's checkpoint where there is one.

    `tell` is told at the start if hindsight has to keep base actions because the controller cannot be asked again.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived; a checkpoint was written.
        ControllerError, WorldError: the controller or the environment failed; a checkpoint was written.
        RunError: the run's files cannot be read or written.
    """
    trial = Trial(config, task, controller, run)
    if trial.keeps_base_actions:
        tell(f"{name_of(controller)} cannot be asked again at relabelled goals: hindsight keeps the recorded base actions")
    lanes, with_state = config.episodes_per_cycle, reads_state(controller)
    with (
        closing(task.make_envs(lanes, num_threads=num_threads, autoreset_mode=DISABLED, with_state=with_state)) as envs,
        closing(evaluation_envs(task, config.evaluation_episodes, num_threads, with_state)) as judges,
        stop_requested() as stopped,
    ):
        seeds = evaluation_seeds(Purpose.SELECTION, config.evaluation_episodes)
        base = roll_out(judges, base_alone(controller, config.algorithm.composition, task.spec.action_size), seeds)
        selection = Selection(judges, seeds, base)
        state = _restored(trial) or _fresh(trial)
        run.forget_after(state.cycle * trial.cycle_steps, evaluated=state.evaluated * trial.cycle_steps)
        started, saved = time.monotonic() - state.wall_seconds, time.monotonic()
        while True:
            step = state.cycle * trial.cycle_steps
            with _saved_on_error(run, state):
                if _evaluation_is_due(trial, state):
                    state = _evaluated(trial, selection, state)
            measured_by, steps = config.measured_by, trial.cycles * trial.cycle_steps
            on_progress(Progress(step, steps, measured_by, base.measured(measured_by), state.measured))
            if stopped():
                _save(run, state)
                raise Interrupted(f"stopped at step {step}; the same command goes on from there")
            if time.monotonic() - saved > checkpoint_seconds or state.cycle == trial.cycles:
                _save(run, state)
                saved = time.monotonic()
            if state.cycle == trial.cycles:
                run.save_diagnosis(_diagnosis(trial, state))
                return
            with _saved_on_error(run, state):
                episodes, dropped = _collected(trial, envs, state)
                state = _learned(trial, state, episodes, dropped, started)


def _evaluation_is_due(trial: Trial, state: State) -> bool:
    """Once for the base alone, once in each interval, once at the end."""
    if state.evaluated == state.cycle:
        return False
    passed = state.cycle * trial.cycle_steps % trial.config.evaluation_interval < trial.cycle_steps
    return passed or state.cycle == trial.cycles


def _fresh(trial: Trial) -> State:
    config, spec = trial.config, trial.task.spec
    init = eqx.filter_jit(config.algorithm.init)  # compiled as a whole, not operation by operation
    learner = init(spec, jax.random.key(config.seed))
    replay = Replay(spec, min(config.replay_capacity, config.steps + trial.cycle_steps))
    return State(
        learner,
        replay,
        cycle=0,
        evaluated=-1,
        mean_values=[],
        measured=-np.inf,
        best=(-np.inf, 0),
        wall_seconds=0.0,
        dropped_in_a_row=0,
    )


def _collected(trial: Trial, envs: WorldVectorEnv, state: State) -> tuple[list[Episode], list[str]]:
    """The next cycle's episodes, one a lane, and why others were dropped."""
    config = trial.config
    rng, key = _chance(config, state.cycle, "collect")
    explore = config.algorithm.exploring_lanes(rng, envs.num_envs, not _actor_learns(config, state))
    keys = jax.random.split(key, envs.horizon)
    networks = state.learner.current

    def act(observation: Observation, base_action: np.ndarray, step: int) -> np.ndarray:
        return np.asarray(learning.act(config.algorithm, networks, observation, base_action, keys[step], explore))

    first = state.cycle * envs.num_envs
    seeds = [training_seed(config.seed, first + lane) for lane in range(envs.num_envs)]
    episodes, reasons = collect(envs, trial.controller, config.algorithm.composition, act, seeds)
    if not episodes and state.dropped_in_a_row + len(reasons) >= MAX_DROPPED_IN_A_ROW:
        raise WorldError(
            f"{state.dropped_in_a_row + len(reasons)} episodes in a row had to be dropped; the last one because {reasons[-1]}"
        )
    return episodes, reasons


def _learned(trial: Trial, state: State, episodes: list[Episode], dropped: list[str], started: float) -> State:
    """The state after learning from a cycle."""
    actor_learns = _actor_learns(trial.config, state)
    with state.replay.adding([episode.transitions for episode in episodes]):
        learner, metrics = _updated(trial, state, sum(len(episode.transitions.reward) for episode in episodes), actor_learns)
        state = state._replace(
            learner=learner,
            cycle=state.cycle + 1,
            mean_values=[*state.mean_values, metrics["mean_value"]],
            wall_seconds=time.monotonic() - started,
            dropped_in_a_row=0 if episodes else state.dropped_in_a_row + len(dropped),
        )
        trial.run.append(
            "metrics.csv",
            {
                "step": state.cycle * trial.cycle_steps,
                "wall_seconds": state.wall_seconds,
                "acting_success_rate": float(np.mean([episode.success for episode in episodes] or [np.nan])),
                "acting_mean_return": float(np.mean([episode.transitions.reward.sum() for episode in episodes] or [np.nan])),
                "burn_in": int(not actor_learns),
                "dropped_episodes": len(dropped),
                **metrics,
            },
        )
    return state


def _updated(trial: Trial, state: State, new: int, actor_learns: bool) -> tuple[Learner, dict[str, float]]:
    """The learner after a cycle's updates, and their metrics. `new` rows of the replay have not been seen yet."""
    config, task, algorithm, learner = trial.config, trial.task, trial.config.algorithm, state.learner
    if not len(state.replay):
        return learner, {"critic_loss": float("nan"), "mean_value": float("nan")}
    rng, _ = _chance(config, state.cycle, "learn")
    base = base_policy(trial.controller, algorithm.composition, task.spec.action_size)

    def base_at_goal(observation: Observation) -> np.ndarray:
        try:
            return base(observation)
        except ControllerError as error:
            raise ControllerError(f"{error} (asked by hindsight, at goals that were achieved)") from error

    ask = base_at_goal if trial.asks_again else None

    def sample(size: int, latest: int | None = None) -> Transition:
        return config.hindsight.sample(state.replay, rng, size, task.reward, task.success, ask, latest)

    if new:
        learner = learning.count_in(algorithm, learner, sample(new, latest=new))
    updates = config.updates_per_cycle if actor_learns else algorithm.burn_in.updates
    flat = sample(updates * config.batch_size)
    batches = jax.tree.map(lambda leaf: leaf.reshape(updates, config.batch_size, *leaf.shape[1:]), flat)
    learner, metrics = learning.update_many(algorithm, learner, batches, task.spec, actor_learns)
    return learner, {name: float(value) for name, value in metrics.items()}


def _actor_learns(config: Config, state: State) -> bool:
    return config.algorithm.burn_in.is_over(state.mean_values)


def _chance(config: Config, cycle: int, use: str) -> tuple[np.random.Generator, Any]:
    """A NumPy generator and a JAX key that belong to this run, this cycle and this use alone."""
    number = ("collect", "learn").index(use)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), 2 * cycle + number), 0xC7C1E)
    return np.random.default_rng([config.seed, cycle, number]), key


def _evaluated(trial: Trial, selection: Selection, state: State) -> State:
    """Evaluates the learner as it is, and keeps it as the selected policy if none was better."""
    residual = Residual(trial.config.algorithm, state.learner.averaged)
    policy = base_plus_residual(trial.controller, trial.config.algorithm.composition, residual, trial.task.spec.action_size)
    outcome, base = roll_out(selection.envs, policy, selection.seeds), selection.base
    step = state.cycle * trial.cycle_steps
    trial.run.append("evaluations.csv", evaluation_row(step, state.wall_seconds, outcome, base))
    measured = outcome.measured(trial.config.measured_by)
    state = state._replace(measured=measured, evaluated=state.cycle)
    if measured >= state.best[0]:
        trial.run.save_policy(to_arrays(state.learner.averaged, "networks"), step)
        state = state._replace(best=(measured, step))
    return state


def diagnosis_so_far(trial: Trial) -> Diagnosis:
    """What a look at the checkpoint of an unfinished run finds.

    Raises:
        RunError: there is none yet, or it is damaged.
    """
    state = _restored(trial)
    if state is None:
        raise RunError(f"{trial.run.path} has no checkpoint to look at: its learner and replay are not there yet, or no more")
    return _diagnosis(trial, state)


def _diagnosis(trial: Trial, state: State) -> Diagnosis:
    config, task, path = trial.config, trial.task, trial.run.path
    asked = reads_goal(trial.controller) and asked_again(trial.controller)
    base = base_policy(trial.controller, config.algorithm.composition, task.spec.action_size) if asked else None
    evidence = gather(config.algorithm, state.learner.averaged, state.replay, task.spec, task.success, base)
    evaluations, metrics = (read_rows(path / name) for name in ("evaluations.csv", "metrics.csv"))
    return diagnose(config, state.cycle * trial.cycle_steps, evidence, evaluations, metrics)


def _save(run: Run, state: State) -> None:
    arrays = to_arrays(state.learner, "learner")
    arrays |= {f"replay/{name}": array for name, array in state.replay.arrays().items()}
    counters = {
        "cycle": state.cycle,
        "mean_values": state.mean_values,
        "evaluated": state.evaluated,
        "measured": state.measured,
        "best": state.best,
        "wall_seconds": state.wall_seconds,
        "dropped_in_a_row": state.dropped_in_a_row,
    }
    run.save_checkpoint(arrays, counters)


def _restored(trial: Trial) -> State | None:
    """The state that the run's checkpoint holds, None where there is none."""
    checkpoint = trial.run.load_checkpoint()
    if checkpoint is None:
        return None
    arrays, counters = checkpoint
    fresh = _fresh(trial)
    source = str(trial.run.path / "checkpoint.safetensors")
    try:
        fresh.replay.restore({name.removeprefix("replay/"): array for name, array in arrays.items()})
        return fresh._replace(
            learner=from_arrays(fresh.learner, arrays, "learner", source),
            cycle=int(counters["cycle"]),
            mean_values=[float(value) for value in counters["mean_values"]],
            evaluated=int(counters["evaluated"]),
            measured=float(counters["measured"]),
            best=(float(counters["best"][0]), int(counters["best"][1])),
            wall_seconds=float(counters["wall_seconds"]),
            dropped_in_a_row=int(counters["dropped_in_a_row"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RunError(f"{source} is damaged: {error}") from error


@contextmanager
def _saved_on_error(run: Run, state: State) -> Iterator[None]:
    """Whatever a controller or a world does wrong: what was learned before is kept."""
    try:
        yield
    except ResidualRLError:
        _save(run, state)
        raise


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Notes SIGINT and SIGTERM instead of dying of them; yields whether one arrived. A second one is no longer caught."""
    arrived = []
    previous = {}

    def note(number: int, frame: Any) -> None:
        arrived.append(number)
        signal.signal(number, previous[number])

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, note)
    try:
        yield lambda: bool(arrived)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
