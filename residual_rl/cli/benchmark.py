"""The command that measures speed."""

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer

from residual_rl.cli.console import Json, tell
from residual_rl.errors import UnknownName


def benchmark(
    subject: Annotated[
        str, typer.Argument(help="What to measure: physics, learning or foreign (overhead on user-supplied environments).")
    ],
    as_json: Json = False,
    task: Annotated[str, typer.Option(help="The task that `physics` measures.")] = "slippery-push",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of `physics`.", show_default="one per core")] = None,
) -> None:
    """Measure speed on this machine, beside the usual alternatives."""
    from residual_rl import benchmarks

    subjects: dict[str, Callable[[], dict[str, Any]]] = {
        "physics": lambda: benchmarks.physics(task, threads, tell=tell),
        "learning": lambda: benchmarks.learning(tell=tell),
        "foreign": lambda: benchmarks.foreign(tell=tell),
    }
    if subject not in subjects:
        raise UnknownName("benchmark", subject, subjects)
    result = subjects[subject]()
    print(json.dumps(result) if as_json else benchmarks.table(result))
