"""Learners of other libraries, configured to do the same work as ours."""

import time
from contextlib import redirect_stderr
from importlib.metadata import version
from io import StringIO
from typing import Any, NamedTuple

from residual_rl.benchmarks.conditions import PEER_TASKS, PEERS, TASK
from residual_rl.benchmarks.rounds import alternate, medians, stepper
from residual_rl.optional import need
from residual_rl.processes import usable_cores
from residual_rl.tasks.rules import BLOCK

PEER_TASK = PEER_TASKS[TASK]
VECTOR_ENVS = ("DummyVecEnv", "SubprocVecEnv")


class Work(NamedTuple):
    """The work of each learner."""

    envs: str
    """One of `VECTOR_ENVS`."""
    num_envs: int
    cycle_steps: int
    """Environment steps between two series of updates."""
    cycle_updates: int
    batch_size: int


def fastest_vector_env(num_envs: int) -> tuple[dict[str, float], str]:
    """Return steps per second of the peers' vector environments, and the name of the fastest."""
    speeds = {}
    for name in VECTOR_ENVS:
        envs = _vector_env(name, num_envs)
        speeds[name] = medians(alternate({name: stepper(envs, num_envs, 1.5)}, 2))[name]
        envs.close()
    return speeds, max(speeds, key=lambda name: speeds[name])


def _vector_env(name: str, num_envs: int) -> Any:
    return getattr(need("stable_baselines3.common.vec_env", *PEERS), name)([_gymnasium_robotics_env] * num_envs)


def stable_baselines3(work: Work) -> "Peer":
    """Return Stable-Baselines3's DDPG."""
    need("torch", *PEERS).set_num_threads(usable_cores())
    algorithm = need("stable_baselines3", *PEERS).DDPG
    return Peer(f"Stable-Baselines3 {version('stable-baselines3')}, DDPG", algorithm, work, {"net_arch": [256] * 3})


def sbx(work: Work) -> "Peer":
    """Return SBX's TQC; SBX has no DDPG for observations with goals."""
    algorithm = need("sbx", *PEERS).TQC
    return Peer(f"SBX {version('sbx-rl')}, TQC with one critic", algorithm, work, {"net_arch": [256] * 3, "n_critics": 1})


class Peer:
    """A learner of another library with hindsight on Gymnasium-Robotics' FetchPush, configured to do the same work as ours.

    Args:
        name: its name.
        algorithm: a class with Stable-Baselines3's interface.
        work: the amount of work.
        policy_kwargs: its networks.
    """

    def __init__(self, name: str, algorithm: Any, work: Work, policy_kwargs: dict[str, Any]):
        self.name = f"{name} + HerReplayBuffer, {PEER_TASK}, {work.envs}"
        self._model = algorithm(
            "MultiInputPolicy",
            _vector_env(work.envs, work.num_envs),
            replay_buffer_class=need("stable_baselines3", *PEERS).HerReplayBuffer,
            policy_kwargs=policy_kwargs,
            batch_size=work.batch_size,
            train_freq=BLOCK.horizon,  # calls of the vector env
            gradient_steps=work.cycle_updates,
            learning_starts=work.cycle_steps,
            device="cpu",
            seed=0,
        )
        self._model.learn(2 * work.cycle_steps)  # the second cycle is the first one that learns
        self._start = self._model.num_timesteps, self._model._n_updates

    def speed(self, steps: int) -> float:
        """Continue training for about so many steps; return environment steps per second."""
        before, started = self._model.num_timesteps, time.perf_counter()
        self._model.learn(steps, reset_num_timesteps=False)
        return (self._model.num_timesteps - before) / (time.perf_counter() - started)

    @property
    def updates_per_step(self) -> float:
        """Measured gradient steps per environment step."""
        return (self._model._n_updates - self._start[1]) / (self._model.num_timesteps - self._start[0])

    def close(self) -> None:
        """Close the environments and their processes."""
        self._model.get_env().close()


def _gymnasium_robotics_env() -> Any:
    """Return one of the peer's environments, without Gymnasium's checks at every step."""
    import gymnasium

    with redirect_stderr(StringIO()):  # the import prints messages about tasks that are not used here
        import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    return gymnasium.make(PEER_TASK, disable_env_checker=True)
