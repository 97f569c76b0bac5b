"""How fast this is, beside the fastest peers on the same machine: `residual-rl benchmark physics|learning`.

A machine that others use too is a poor clock. So all contestants of a benchmark are measured in one process, in short
alternating rounds, and compared within each round; medians over the rounds are reported. What does not depend on the
machine's mood is the ratio.
"""

import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from residual_rl.errors import ResidualRLError
from residual_rl.tasks import fetch, find_task
from residual_rl.tasks.physics import Physics
from residual_rl.tasks.task import Task
from residual_rl.tasks.vector import WorldVectorEnv

INSTALL_PEERS = "pip install 'residual-rl[bench]'"
PEER_TASK = "FetchPush-v4"
BATCHES = (8, 16, 32)
BYTES_PER_GB = 1e9

Speed = Callable[[], float]
"""One round of one contestant: env steps per second, summed over envs."""
Tell = Callable[[str], None]


def physics(
    task: str = "slippery-push",
    batches: Sequence[int] = BATCHES,
    rounds: int = 5,
    round_seconds: float = 1.0,
    threads: int | None = None,
    tell: Tell = lambda line: None,
) -> dict[str, Any]:
    """Env steps per second under random actions, beside EnvPool's FetchPush with the same batch and threads.

    Args:
        task: which of our tasks; the peer's is always FetchPush, whose model and substeps are the same.
        batches: numbers of envs.
        rounds: of all contestants, for each batch.
        round_seconds: how long one contestant is measured in one round.
        threads: physics threads; None for one on each core.
        tell: is told what is being measured.
    """
    machine = _machine(("envpool",))
    threads = threads or cores()
    rows = []
    for batch in batches:
        tell(f"physics: {batch} envs, {rounds} rounds")
        envs: dict[str, Any] = {
            "ours": find_task(task).make_envs(batch, num_threads=threads),
            "unfiltered": _with_all_contacts(find_task(task), batch, threads),
        }
        with _quiet():
            if installed("envpool"):
                envs["peer"] = _envpool(batch, threads)
            speeds = alternate({name: _stepper(env, batch, round_seconds) for name, env in envs.items()}, rounds)
            for env in envs.values():
                env.close()
        rows.append({"batch": batch} | compared(speeds))
    result = {
        "benchmark": "physics",
        "task": task,
        "peer": f"EnvPool {version('envpool')}, {PEER_TASK}" if installed("envpool") else None,
        "threads": threads,
        "batches": rows,
    }
    return result | _overall(rows) | machine


def learning(
    steps: int = 4000,
    rounds: int = 3,
    num_envs: int = 8,
    transitions: int = 1_000_000,
    tell: Tell = lambda line: None,
) -> dict[str, Any]:
    """Env steps per second of a whole training, beside Stable-Baselines3's DDPG with hindsight; and the memory it takes.

    Both sides simulate, store, relabel and learn, with one update of batch 256 on 3x256 networks for every 10 env steps.
    Ours is the preset `silver2018` on SlipperyPush with its controller; the `default` preset, whose five critics cost
    more, is given for information.

    Args:
        steps: env steps of one contestant in one round.
        rounds: of all contestants.
        num_envs: lanes, on both sides.
        transitions: how many the run holds whose memory is measured.
        tell: is told what is being measured.
    """
    machine = _machine(("stable-baselines3", "torch"))
    tell("learning: compiling")
    compile_seconds = compiling_seconds("silver2018", num_envs)
    compiling_seconds("default", num_envs)
    measures: dict[str, Speed] = {
        "ours": lambda: training_speed("silver2018", steps, num_envs),
        "default_preset": lambda: training_speed("default", steps, num_envs),
    }
    result: dict[str, Any] = {
        "benchmark": "learning",
        "task": "slippery-push",
        "steps": steps,
        "envs": num_envs,
        "threads": cores(),
        "updates_per_step": 0.1,
        "batch_size": 256,
        "compile_seconds": round(compile_seconds, 2),
        "peer": None,
    }
    with _quiet():
        peer = None
        if installed("stable_baselines3"):
            tell("learning: which of the peer's vector environments is faster")
            peer = _StableBaselines3(num_envs)
            result |= {"peer": peer.name, "peer_vector_env_speeds": peer.vector_env_speeds}
            measures["peer"] = lambda: peer.speed(steps)
        tell(f"learning: {rounds} rounds of {steps} steps each")
        result |= compared(alternate(measures, rounds))
        if peer is not None:
            result["peer_updates_per_step"] = round(peer.updates_per_step, 3)
            peer.close()
    tell(f"learning: memory of a run with {transitions} transitions")
    return result | memory(transitions) | machine


def memory(transitions: int = 1_000_000) -> dict[str, Any]:
    """Peak memory of a process that trains with so many transitions in its replay, and writes its checkpoint.

    Raises:
        ResidualRLError: the process failed; with what it said.
    """
    command = [sys.executable, "-m", "residual_rl.benchmark", str(transitions)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise ResidualRLError(f"the process whose memory was to be measured failed: {answer.stderr.strip()}")
    return json.loads(answer.stdout.splitlines()[-1])


def alternate(measures: Mapping[str, Speed], rounds: int) -> dict[str, list[float]]:
    """Steps per second of each contestant in each round. Every other round goes backwards, so that no drift favours one."""
    speeds: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name in list(measures)[:: -1 if number % 2 else 1]:
            gc.collect()  # nobody pays for another one's garbage
            speeds[name].append(measures[name]())
    return speeds


def compared(speeds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Medians over the rounds, and the median of each round's ratio `ours / peer`; None where no peer was measured."""
    result: dict[str, Any] = {f"{name}_steps_per_second": round(statistics.median(speed), 1) for name, speed in speeds.items()}
    result["ratio"] = None
    if "peer" in speeds:
        ratios = [ours / peer for ours, peer in zip(speeds["ours"], speeds["peer"], strict=True)]
        result["ratio"] = round(statistics.median(ratios), 3)
    names = list(speeds)
    result["rounds"] = [
        {name: round(speed, 1) for name, speed in zip(names, values, strict=True)}
        for values in zip(*speeds.values(), strict=True)
    ]
    return result


def training_speed(preset: str, steps: int, num_envs: int) -> float:
    """Env steps per second of a training, evaluations, first and last cycle excluded.

    The first cycle would count the start, the last one ends with an evaluation and the final checkpoint.
    """
    times = _training(preset, steps, num_envs)
    return (len(times) - 2) * num_envs * fetch.HORIZON / (times[-2] - times[0])


def compiling_seconds(preset: str, num_envs: int) -> float:
    """What the first training of a process takes longer than the second one."""
    durations = []
    for _ in range(2):
        started = time.perf_counter()
        _training(preset, 1, num_envs)
        durations.append(time.perf_counter() - started)
    return durations[0] - durations[1]


def _training(preset: str, steps: int, num_envs: int) -> list[float]:
    """The times in s at which the cycles of a short training ended: those of `steps`, one before and one after."""
    from residual_rl.config import make_config
    from residual_rl.controllers import make_controller
    from residual_rl.learning.burn_in import FixedBurnIn
    from residual_rl.run import Run
    from residual_rl.train import train

    task = find_task("slippery-push")
    cycle = num_envs * task.spec.horizon
    cycles = -(-steps // cycle) + 2
    config = make_config(
        preset,
        task=task.name,
        controller=task.default_controller,
        steps=cycles * cycle,
        episodes_per_cycle=num_envs,
        updates_per_cycle=cycle // 10,
        evaluation_interval=2 * cycles * cycle,
        evaluation_episodes=1,
    )
    if isinstance(config.algorithm.burn_in, FixedBurnIn):
        # What a burn-in costs is not what the rest of the run costs.
        config = replace(config, algorithm=replace(config.algorithm, burn_in=FixedBurnIn(cycles=0)))
    times = []
    with tempfile.TemporaryDirectory() as directory, Run(Path(directory) / "run", config) as run:
        controller = make_controller(task.default_controller, task.spec)
        train(config, task, controller, run, lambda progress: times.append(time.perf_counter()), num_threads=cores())
    return times


def _with_all_contacts(task: Task, batch: int, threads: int) -> WorldVectorEnv:
    """Our envs over the model as it is published, whose robot is tested for contact with itself."""
    envs = task.make_envs(batch, num_threads=threads)
    filtered = envs.world.physics  # type: ignore[attr-defined]
    model = fetch.fetch_model(envs.world.scene, robot_self_contacts=True)  # type: ignore[attr-defined]
    envs.world.physics = Physics(model, filtered.substeps, threads)  # type: ignore[attr-defined]
    filtered.close()
    return envs


def _envpool(batch: int, threads: int) -> Any:
    import envpool  # type: ignore

    return envpool.make(PEER_TASK, env_type="gymnasium", num_envs=batch, num_threads=threads)


def _stepper(envs: Any, batch: int, seconds: float) -> Speed:
    """Random actions for about `seconds`, after one that warms up. Finished episodes start again by themselves."""
    envs.reset()
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (256, batch, 4)).astype(np.float32)
    envs.step(actions[0])

    def speed() -> float:
        calls, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds or calls == 0:
            envs.step(actions[calls % len(actions)])
            calls += 1
        return calls * batch / elapsed

    return speed


class _StableBaselines3:
    """Stable-Baselines3's DDPG with hindsight on Gymnasium-Robotics' FetchPush, set up to do the same work as ours."""

    def __init__(self, num_envs: int):
        import torch  # type: ignore
        from stable_baselines3 import DDPG, HerReplayBuffer  # type: ignore
        from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv  # type: ignore

        torch.set_num_threads(cores())
        makers = [_gymnasium_robotics_env] * num_envs
        candidates = {"DummyVecEnv": DummyVecEnv(makers), "SubprocVecEnv": SubprocVecEnv(makers)}
        speeds = alternate({name: _stepper(envs, num_envs, 1.5) for name, envs in candidates.items()}, 2)
        self.vector_env_speeds = {name: round(statistics.median(speed), 1) for name, speed in speeds.items()}
        best = max(self.vector_env_speeds, key=lambda name: self.vector_env_speeds[name])
        for name, envs in candidates.items():
            if name != best:
                envs.close()
        self.name = f"Stable-Baselines3 {version('stable-baselines3')}, DDPG + HerReplayBuffer, {PEER_TASK}, {best}"
        cycle = num_envs * fetch.HORIZON
        self._model = DDPG(
            "MultiInputPolicy",
            candidates[best],
            replay_buffer_class=HerReplayBuffer,
            policy_kwargs={"net_arch": [256] * 3},
            batch_size=256,
            train_freq=fetch.HORIZON,  # calls of the vector env
            gradient_steps=cycle // 10,
            learning_starts=cycle,
            device="cpu",
            seed=0,
        )
        self._model.learn(2 * cycle)  # the second cycle is the first one that learns
        self._start = self._model.num_timesteps, self._model._n_updates

    def speed(self, steps: int) -> float:
        """Goes on learning for about so many steps: env steps per second."""
        before, started = self._model.num_timesteps, time.perf_counter()
        self._model.learn(steps, reset_num_timesteps=False)
        return (self._model.num_timesteps - before) / (time.perf_counter() - started)

    @property
    def updates_per_step(self) -> float:
        """Gradient steps for each env step, as they were counted."""
        return (self._model._n_updates - self._start[1]) / (self._model.num_timesteps - self._start[0])

    def close(self) -> None:
        """Ends its processes."""
        self._model.get_env().close()


def _gymnasium_robotics_env() -> Any:
    """One of the peer's environments, without Gymnasium's own checks at every step."""
    import gymnasium

    with redirect_stderr(StringIO()):  # each of the peer's processes imports it, and each would tell of tasks not used here
        import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    return gymnasium.make(PEER_TASK, disable_env_checker=True)


def _fill_learn_and_save(transitions: int) -> dict[str, Any]:
    """A replay of so many transitions, a cycle of updates from it, a checkpoint: what this process needed at most."""
    import jax

    from residual_rl.config import make_config
    from residual_rl.learning import algorithm as learners
    from residual_rl.learning.replay import Replay
    from residual_rl.learning.serialization import to_arrays
    from residual_rl.run import Run

    task = find_task("slippery-push")
    config = make_config("silver2018", task=task.name, controller=task.default_controller, replay_capacity=transitions)
    rng = np.random.default_rng(0)
    replay = Replay(task.spec, transitions)
    episode = jax.tree.map(  # every page is written to, as in a real run
        lambda leaf: rng.random((task.spec.horizon, *leaf.shape[1:])).astype(leaf.dtype),
        Replay(task.spec, 1).rows(np.zeros(1, int)),
    )
    for _ in range(-(-transitions // task.spec.horizon)):
        replay.add_episode(episode)
    learner = config.algorithm.init(task.spec, jax.random.key(0))
    size = config.updates_per_cycle * config.batch_size
    flat = config.hindsight.sample(replay, rng, size, task.reward, task.success, None)
    batches = jax.tree.map(lambda leaf: leaf.reshape(config.updates_per_cycle, -1, *leaf.shape[1:]), flat)
    learner, _ = learners.update_many(config.algorithm, learner, batches, task.spec, True)
    jax.block_until_ready(learner.updates)
    before = peak_memory()
    with tempfile.TemporaryDirectory() as directory, Run(Path(directory) / "run", config) as run:
        started = time.perf_counter()
        arrays = to_arrays(learner, "learner") | {f"replay/{name}": array for name, array in replay.arrays().items()}
        run.save_checkpoint(arrays, {})
        seconds = time.perf_counter() - started
        size_on_disk = (run.path / "checkpoint.safetensors").stat().st_size
    return {
        "transitions": transitions,
        "peak_memory_gb": round(peak_memory() / BYTES_PER_GB, 3),
        "peak_memory_before_checkpoint_gb": round(before / BYTES_PER_GB, 3),
        "checkpoint_gb": round(size_on_disk / BYTES_PER_GB, 3),
        "checkpoint_seconds": round(seconds, 2),
    }


def peak_memory() -> float:
    """The most memory that this process has held at a time, in bytes.

    Raises:
        ResidualRLError: the operating system does not tell.
    """
    status = Path("/proc/self/status")
    if status.exists():
        # Linux's ru_maxrss begins with the peak of the process that started this one; this line does not.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024.0 * int(line.split()[1])
    try:
        import resource
    except ImportError:
        raise ResidualRLError(f"{platform.system()} does not tell how much memory a process held; Linux and macOS do") from None
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # macOS counts bytes


def cores() -> int:
    """How many cores this process may use: every contestant gets as many threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed(package: str) -> bool:
    """Whether a peer can be measured."""
    return find_spec(package) is not None


def _overall(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All batches' rounds as one comparison."""
    rounds = [round_ for row in rows for round_ in row["rounds"]]
    return compared({name: [round_[name] for round_ in rounds] for name in rounds[0]}) | {"rounds": len(rows[0]["rounds"])}


def _machine(peers: Sequence[str]) -> dict[str, Any]:
    """What a reader needs to know in order to repeat the numbers; and how to get the peers that are missing."""
    packages = ("residual-rl", "mujoco", "jax", "numpy", *peers)
    missing = [name for name in peers if not installed(name.replace("-", "_"))]
    return {
        "versions": {name: version(name) for name in packages if name not in missing},
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": cores()},
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,  # before the benchmark began
        "missing": INSTALL_PEERS if missing else None,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what the peers and their processes print off stdout, and their warnings away altogether."""
    sys.stdout.flush()
    stdout = os.dup(1)
    warned = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore"  # read by the peers' processes
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        if warned is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = warned


def format_physics(result: Mapping[str, Any]) -> str:
    """What `physics` returned, as a table."""
    rows = [["envs", "ours", "ours, robot tested against itself", "peer", "ratio"]]
    for row in [*result["batches"], dict(result) | {"batch": "all"}]:
        names = ("ours_steps_per_second", "unfiltered_steps_per_second", "peer_steps_per_second")
        rows.append([str(row["batch"]), *(_whole(row.get(name)) for name in names), _times(row["ratio"])])
    title = f"Env steps per second of {result['task']}, {result['threads']} threads"
    return "\n".join([title, *_aligned(rows), *_notes(result)])


def format_learning(result: Mapping[str, Any]) -> str:
    """What `learning` returned, as a table."""
    peer = result.get("peer_steps_per_second")
    rows = [
        ["training", "steps/s", "ratio"],
        ["ours, silver2018", _whole(result["ours_steps_per_second"]), _times(result["ratio"])],
        ["ours, default", _whole(result["default_preset_steps_per_second"]), ""],
        ["peer", _whole(peer), ""],
    ]
    return "\n".join(
        [
            f"Env steps per second of a whole training, {result['envs']} envs, one update for every 10 steps",
            *_aligned(rows),
            *_notes(result),
            f"Compiling took {result['compile_seconds']:.1f} s, once.",
            f"A run with {result['transitions']:,} transitions held {result['peak_memory_gb']:.2f} GB at most;"
            f" its checkpoint of {result['checkpoint_gb']:.2f} GB took {result['checkpoint_seconds']:.1f} s.",
        ]
    )


def _notes(result: Mapping[str, Any]) -> list[str]:
    """Who the peer is, and whether the machine was free enough for the numbers to mean something."""
    lines = [f"Peer: {result['peer'] or f'not installed; {INSTALL_PEERS}'}"]
    load = result["load_average"]
    if load is not None and load >= result["machine"]["cores"] / 2:
        # PyTorch's threads wait for one another many times an update: a busy core costs it far more than it costs us.
        lines.append(f"The machine's load was {load:.1f} before this began: not what a free machine would show. Measure again.")
    return lines


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, the first one to the left and all others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


if __name__ == "__main__":
    print(json.dumps(_fill_learn_and_save(int(sys.argv[1]))))
