"""What all commands share: where they speak, and options that mean the same everywhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn

console = Console()
complaints = Console(stderr=True)

Seed = Annotated[int, typer.Option(min=0, help="Seed of all the run's randomness.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Physics threads.", show_default="one a core")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")]


def tell(line: str) -> None:
    """Says something in passing, beside the result."""
    complaints.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)


def show(line: str) -> None:
    """Says a line of the result."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(*columns: ProgressColumn, **fields: Any) -> Iterator[Progress]:
    """A bar on long work, beside the result. It is not shown before its `start`, and goes whatever happens.

    Args:
        *columns: what stands behind the name, the bar and the numbers.
        **fields: others of rich's `Progress`.
    """
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *columns, console=complaints, **fields)
    try:
        yield bar
    finally:
        if bar.live.is_started:
            bar.stop()
