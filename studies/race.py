"""A race to 0.95 on SlipperyPush: the default learner, and Stable-Baselines3's TQC + HER from scratch and over the same base.

    taskset -c 0 python studies/race.py run default --steps 100000
    taskset -c 1 python studies/race.py run tqc --minutes 40
    taskset -c 1 python studies/race.py run tqc-residual --minutes 40
    python studies/race.py page

Each contestant has one core. All are evaluated every 10k steps, on the 500 states that select a checkpoint. TQC's clock stands
still meanwhile; the default learner's does not. TQC is set up as in RL Baselines3 Zoo for FetchPush, but with three layers of
256 and batches of 256 instead of 512 and 2048, which makes it several times faster on a core, and 16 environments at a time.
A run that is stopped goes on; TQC ends when it is there, or when its minutes are over. Needs the extra `bench`; writes
runs/race, and `page` writes studies/race.
"""

import argparse
import csv
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import residual_rl
from residual_rl.controllers import Zero, make_controller
from residual_rl.evaluation import Act, evaluation_envs, roll_out
from residual_rl.residual import Composition
from residual_rl.rollout import base_policy
from residual_rl.seeds import Purpose, evaluation_seeds
from residual_rl.statistics import wilson_interval
from residual_rl.studies.results import write_rows
from residual_rl.tasks import find_task
from residual_rl.types import Observation

TASK = find_task("slippery-push")
RUNS = Path("runs/race")
RESULTS = Path(__file__).parent / "race" / "race.csv"
INTERVAL = 10_000  # steps
EPISODES = 500
LANES = 16
GOAL = 0.95
COLUMNS = ("contestant", "seed", "step", "wall_seconds", "success_rate", "episodes")
NAMES = {
    "default": "residual-rl, default preset over ReactivePush",
    "tqc": "Stable-Baselines3's TQC + HER, from scratch",
    "tqc-residual": "the same, behind a residual wrapper over ReactivePush",
}


class OverBase(gymnasium.Wrapper):
    """What any learner can be given to make it learn a residual: its action is added to the base's."""

    def __init__(self, env: gymnasium.Env, base: Callable[[Observation], np.ndarray]):
        super().__init__(env)
        self.base = base
        self.shown: Any = None

    def reset(self, **fields: Any) -> tuple[Any, dict[str, Any]]:
        """A new episode."""
        self.shown, info = self.env.reset(**fields)
        return self.shown, info

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """The residual in, what the sum leads to out."""
        base_action = self.base({name: array[None] for name, array in self.shown.items()})[0]
        self.shown, *rest = self.env.step(np.clip(base_action + action, -1.0, 1.0))
        return self.shown, *rest


def run_default(seed: int, steps: int) -> None:
    """Ours."""
    out = RUNS / f"default-{seed}"
    residual_rl.improve(
        TASK.name, out=out, steps=steps, seed=seed, evaluation_interval=INTERVAL, evaluation_episodes=EPISODES, num_threads=1
    )
    write(RUNS / f"default-{seed}.csv", "default", seed, measured(out / "evaluations.csv"))


def run_tqc(name: str, seed: int, minutes: float) -> None:
    """Theirs, until its own time is up or it is there."""
    import torch
    from sb3_contrib import TQC
    from stable_baselines3 import HerReplayBuffer
    from stable_baselines3.common.vec_env import DummyVecEnv

    torch.set_num_threads(1)
    residual = name == "tqc-residual"
    controller = make_controller(TASK.default_controller, TASK.spec) if residual else Zero(TASK.spec.action_size)
    base = base_policy(controller, Composition(), TASK.spec.action_size)

    def make() -> gymnasium.Env:
        env = gymnasium.make(TASK.gymnasium_id, disable_env_checker=True)
        return OverBase(env, base) if residual else env

    out = RUNS / f"{name}-{seed}"
    envs = DummyVecEnv([make] * LANES)
    done = measured(out / "rows.csv")
    if done:
        model = TQC.load(out / "model", env=envs, device="cpu")
        model.load_replay_buffer(out / "replay")
    else:
        out.mkdir(parents=True, exist_ok=True)
        model = TQC(
            "MultiInputPolicy",
            envs,
            replay_buffer_class=HerReplayBuffer,
            replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"},
            policy_kwargs={"net_arch": [256] * 3, "n_critics": 2},
            batch_size=256,
            gamma=0.95,
            learning_rate=1e-3,
            tau=0.05,
            learning_starts=1000,
            train_freq=1,
            gradient_steps=-1,  # as many as environment steps
            device="cpu",
            seed=seed,
        )
        if residual:  # begins at the base
            torch.nn.init.zeros_(model.actor.mu.weight)
            torch.nn.init.zeros_(model.actor.mu.bias)
    seconds = done[-1][1] if done else 0.0
    with closing(evaluation_envs(TASK, EPISODES, 1)) as judged:

        def act(observation: Observation) -> tuple[np.ndarray, np.ndarray]:
            base_action = base(observation)
            action, _ = model.predict(dict(observation), deterministic=True)
            return base_action, Composition().action(base_action, action)

        while seconds < 60 * minutes and not (done and done[-1][2] >= GOAL):
            started = time.perf_counter()
            model.learn(INTERVAL, reset_num_timesteps=False)
            seconds += time.perf_counter() - started
            outcome = roll_out(judged, Act(act), evaluation_seeds(Purpose.SELECTION, EPISODES))
            done.append((model.num_timesteps, seconds, float(outcome.success.mean())))
            model.save(out / "model")
            model.save_replay_buffer(out / "replay")
            write(out / "rows.csv", name, seed, done)
            print(f"{name}: {done[-1][0]} steps, {seconds:.0f} s, {done[-1][2]:.3f}", flush=True)
    write(RUNS / f"{name}-{seed}.csv", name, seed, done)
    envs.close()


def measured(path: Path) -> list[tuple[Any, Any, Any]]:
    """Steps, seconds and success of the rows that are there."""
    return [(int(row["step"]), float(row["wall_seconds"]), float(row["success_rate"])) for row in table(path)]


def table(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, name: str, seed: int, done: list[tuple[Any, Any, Any]]) -> None:
    own = [(name, seed, int(step), f"{float(wall):.1f}", success, EPISODES) for step, wall, success in done]
    write_rows(path, COLUMNS, [dict(zip(COLUMNS, row, strict=True)) for row in own])


def page() -> None:
    """All rows in one file, and the table of them."""
    rows = [row for path in sorted(RUNS.glob("*.csv")) for row in table(path)]
    write_rows(RESULTS, COLUMNS, rows)
    lines = ["| | seed | steps to 0.95 | minutes to 0.95 | at last |", "|---|---|---|---|---|"]
    for name, label in NAMES.items():
        for seed in sorted({row["seed"] for row in rows if row["contestant"] == name}):
            own = [row for row in rows if (row["contestant"], row["seed"]) == (name, seed)]
            there = next((row for row in own if float(row["success_rate"]) >= GOAL), None)
            end = own[-1]
            low, high = wilson_interval(round(float(end["success_rate"]) * EPISODES), EPISODES)
            steps, wall = (f"{there['step']}", f"{float(there['wall_seconds']) / 60:.1f}") if there else ("not", "not")
            at_last = f"{float(end['success_rate']):.3f} ({low:.3f} to {high:.3f}) after {end['step']} steps, "
            lines.append(f"| {label} | {seed} | {steps} | {wall} | {at_last}{float(end['wall_seconds']) / 60:.0f} minutes |")
    print("\n".join(lines))


def main() -> None:
    """One contestant, or the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("contestant", choices=NAMES)
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--steps", type=int, default=100_000, help="of the default learner")
    run.add_argument("--minutes", type=float, default=40.0, help="of TQC")
    commands.add_parser("page")
    said = parser.parse_args()
    if said.command == "page":
        page()
    elif said.contestant == "default":
        run_default(said.seed, said.steps)
    else:
        run_tqc(said.contestant, said.seed, said.minutes)


if __name__ == "__main__":
    main()
