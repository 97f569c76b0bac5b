"""Output streams of all commands, and the options that they share."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn

from residual_rl.errors import ResidualRLError
from residual_rl.progress.terminal import Terminal
from residual_rl.runs.files import CONFIG

console = Console()
complaints = Console(stderr=True)
tell = Terminal(complaints, console)
"""Prints a line on standard error, beside the result."""

Seed = Annotated[int, typer.Option(min=0, help="Random seed of the run.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Physics threads.", show_default="one per core")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")]
Horizon = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="For Gymnasium environments: truncate episodes after this many steps.",
        show_default="the environment's time limit",
    ),
]
Success = Annotated[
    str | None,
    typer.Option(
        help="For Gymnasium environments: when an episode is a success: at its last step (last), at any step (once), or at its "
        "last N steps (held:N).",
        show_default="last",
    ),
]
Env = Annotated[
    str | None,
    typer.Option(
        help="For a run in a Gymnasium environment that a module of yours registers: MODULE:ID.",
        show_default="the environment of the run",
    ),
]
Method = Annotated[
    str,
    typer.Option(
        help="rpl: improve the controller; scratch: learn without one; expert-explore (needs --preset silver2018): learn "
        "without one, but let it act in some training steps."
    ),
]
Preset = Annotated[str, typer.Option(help="default: the recommended learner; silver2018: the published one.")]
Base = Annotated[
    str | None,
    typer.Option(
        "--controller",
        help="The base: a controller's name, a .npz, .safetensors or .onnx file, or the folder of a clone or of a run. "
        "Gymnasium environments need one.",
        show_default="the task's own",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Set a hyperparameter, such as algorithm.composition.scale=0.5; `residual-rl config TASK` lists them. Repeatable.",
    ),
]

OPTIONS = ("task", "controller", "method", "preset", "seed", "steps")
"""Fields of the configuration that have an argument or option of their own."""


def settings(entries: list[str] | None) -> dict[str, Any]:
    """Return the values set with `--set`: `{"path": value}`.

    Raises:
        ResidualRLError: an entry is not of the form PATH=VALUE, or sets a field that has an option of its own.
    """
    values: dict[str, Any] = {}
    for entry in entries or ():
        path, equals, text = entry.partition("=")
        if not (path and equals and text):
            raise ResidualRLError(f"--set needs PATH=VALUE, such as algorithm.composition.scale=0.5, not {entry!r}")
        if path in OPTIONS:
            raise ResidualRLError(f"--set {entry}: {path} has an argument or option of its own, see --help")
        try:
            values[path] = json.loads(text)
        except ValueError:
            values[path] = text
    return values


def given(**options: Any) -> dict[str, Any]:
    """Return the options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def show(line: str) -> None:
    """Print a line of the result."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def is_run(target: str | Path) -> bool:
    """Return whether this is the directory of a run."""
    return (Path(target) / CONFIG).is_file()


@contextmanager
def progress_bar(*columns: ProgressColumn, **fields: Any) -> Iterator[Progress]:
    """Show a progress bar on standard error from its `start` on, and always remove it at the end.

    Args:
        *columns: further columns after the name, the bar and the numbers.
        **fields: other arguments of rich's `Progress`.
    """
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *columns, console=complaints, **fields)
    try:
        yield bar
    finally:
        if bar.live.is_started:
            bar.stop()
