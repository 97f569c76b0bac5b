"""The command that lists all hyperparameters with their values for a task."""

import json
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from residual_rl.cli.console import Base, Horizon, Json, Method, Preset, Set, console, settings, tell


def config(
    task: Annotated[
        str, typer.Argument(help="A task's name, see `residual-rl list`, or any Gymnasium id; that needs --controller.")
    ],
    preset: Preset = "default",
    method: Method = "rpl",
    controller: Base = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps, on which some of the values depend.")] = 100_000,
    horizon: Horizon = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """List all hyperparameters with their values for a task.

    Any of them is set by its path: `--set PATH=VALUE`, in Python `improve(..., **{"PATH": VALUE})`.
    """
    from residual_rl.api import configure
    from residual_rl.config import described_fields, to_json

    found = configure(task, controller, method=method, preset=preset, steps=steps, horizon=horizon, tell=tell, **settings(set_))
    if as_json:
        print(json.dumps(to_json(found)))
        return
    table = Table(title=f"{task}, preset {preset}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("path", "value", "meaning"):
        table.add_column(column, no_wrap=column == "path")
    for path, value, meaning in described_fields(found):
        table.add_row(path, Text(json.dumps(value)), Text(meaning.partition(". ")[0], style="dim"))
    console.print(table)
