"""The command line `residual-rl`: collect the commands, and print errors in one line."""

import sys

import typer
from rich.table import Table
from rich.text import Text

from residual_rl.cli import benchmark, bundles, comparisons, demonstrations, runs, settings, study, watch
from residual_rl.cli.console import complaints, console
from residual_rl.controllers import CONTROLLERS
from residual_rl.errors import Interrupted, ResidualRLError
from residual_rl.tasks import TASKS, VISUAL
from residual_rl.tasks.task import Task

app = typer.Typer(
    help="Improve the controller you already have, and know that it never got worse.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("list")
def list_() -> None:
    """List the tasks, controllers, methods, presets and studies."""
    from residual_rl.presets import METHODS, PRESETS
    from residual_rl.studies import STUDIES

    sections = {
        "tasks": {task.name: _describe(task) for task in TASKS.values()},
        "visual tasks": {task.name: f"{task.summary} ({task.gymnasium_id})" for task in VISUAL.values()},
        "controllers": {name: entry.summary for name, entry in CONTROLLERS.items()}
        | {
            "FILE.npz": "a table: repeats the action of the nearest recorded state; or a network of plain arrays",
            "FILE.safetensors": "a network of plain arrays; FILE@0.7 multiplies its actions by 0.7",
            "FILE.onnx": "a network",
            "FOLDER": "a clone, or the base of a run",
        },
        "methods": METHODS,
        "presets": {name: summary for name, (summary, _) in PRESETS.items()},
        "studies": {study.name: f"{study.summary} ({len(study.trials)} trials)" for study in STUDIES.values()},
    }
    for title, lines in sections.items():
        table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 2))
        for name, summary in lines.items():
            table.add_row(name, summary)
        console.print(table, "")


for command in (
    *(runs.train, runs.evaluate, comparisons.compare, comparisons.judge, runs.doctor, runs.report, watch.watch),
    *(settings.config, demonstrations.record, demonstrations.clone),
    *(bundles.export, bundles.push, bundles.pull, study.study, study.gather, benchmark.benchmark),
):
    app.command()(command)


def main() -> None:
    """Run a command; an error that a user can fix is one line, without a traceback."""
    try:
        app(standalone_mode=True)
    except Interrupted as stop:
        complaints.print(Text(str(stop), style="yellow"), highlight=False, soft_wrap=True)
        sys.exit(130)
    except ResidualRLError as error:
        complaints.print(Text(f"error: {error}", style="red"), highlight=False, soft_wrap=True)
        sys.exit(1)


def _describe(task: Task) -> str:
    measure = "" if task.measured_by == "success" else f"; judged by its {task.measured_by}"
    return f"{task.summary} ({task.gymnasium_id}{measure})"


if __name__ == "__main__":
    main()
