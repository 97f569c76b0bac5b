"""What all commands share: where they speak, and options that mean the same everywhere."""

from typing import Annotated

import typer
from rich.console import Console

console = Console()
complaints = Console(stderr=True)

Seed = Annotated[int, typer.Option(min=0, help="Decides all chance of the run.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Physics threads.", show_default="one a core")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")]


def tell(line: str) -> None:
    """Says something in passing, beside the result."""
    complaints.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)


def show(line: str) -> None:
    """Says a line of the result."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
