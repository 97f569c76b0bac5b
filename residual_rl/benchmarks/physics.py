"""How fast the world is alone: env steps per second, beside EnvPool."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from residual_rl.benchmarks.conditions import PEER_TASK, TASK, conditions, installed, quiet
from residual_rl.benchmarks.rounds import alternate, compared, stepper
from residual_rl.tasks import block, find_task
from residual_rl.tasks.physics import Physics, usable_cores
from residual_rl.tasks.vector import WorldVectorEnv

BATCHES = (8, 16, 32)


def physics(
    threads: int | None = None,
    batches: Sequence[int] = BATCHES,
    rounds: int = 5,
    round_seconds: float = 1.0,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Env steps per second under random actions, beside EnvPool's FetchPush with the same batch and threads.

    Args:
        threads: physics threads; None for one on each core.
        batches: numbers of envs.
        rounds: of all contestants, for each batch.
        round_seconds: how long one contestant is measured in one round.
        tell: is told what is being measured.
    """
    measured_under = conditions(("envpool",))
    threads = threads or usable_cores()
    rows = []
    for batch in batches:
        tell(f"physics: {batch} envs, {rounds} rounds")
        envs: dict[str, Any] = {
            "ours": find_task(TASK).make_envs(batch, num_threads=threads),
            "unfiltered": _with_all_contacts(batch, threads),
        }
        with quiet():
            if installed("envpool"):
                envs["peer"] = _envpool(batch, threads)
            speeds = alternate({name: stepper(env, batch, round_seconds) for name, env in envs.items()}, rounds)
            for env in envs.values():
                env.close()
        rows.append({"batch": batch} | compared(speeds))
    result = {
        "benchmark": "physics",
        "task": TASK,
        "peer": f"EnvPool {version('envpool')}, {PEER_TASK}" if installed("envpool") else None,
        "threads": threads,
        "batches": rows,
    }
    return result | _overall(rows) | measured_under


def _with_all_contacts(batch: int, threads: int) -> WorldVectorEnv:
    """Our envs over the model as it is published, whose robot is tested for contact with itself."""
    envs = find_task(TASK).make_envs(batch, num_threads=threads)
    world = envs.world
    assert isinstance(world, block.BlockWorld)
    filtered = world.arm.physics
    world.arm.physics = Physics(block.block_model(world.scene, all_contacts=True), filtered.substeps, threads)
    filtered.close()
    return envs


def _envpool(batch: int, threads: int) -> Any:
    import envpool  # type: ignore

    return envpool.make(PEER_TASK, env_type="gymnasium", num_envs=batch, num_threads=threads)


def _overall(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All batches' rounds as one comparison."""
    rounds = [round_ for row in rows for round_ in row["rounds"]]
    return compared({name: [round_[name] for round_ in rounds] for name in rounds[0]}) | {"rounds": len(rows[0]["rounds"])}
