"""The command that measures speed."""

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer

from residual_rl.cli.console import Json, tell
from residual_rl.errors import UnknownName


def benchmark(
    subject: Annotated[str, typer.Argument(help="physics, learning or foreign")],
    as_json: Json = False,
    task: Annotated[str, typer.Option(help="Which world `physics` measures.")] = "slippery-push",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of `physics`.", show_default="one a core")] = None,
) -> None:
    """Measure speed beside the usual alternatives, in one run on this machine."""
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
