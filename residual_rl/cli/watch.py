"""The command that shows a controller or a policy at work."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TextColumn, TimeRemainingColumn

from residual_rl.cli.console import Threads, progress_bar, show, tell
from residual_rl.errors import ResidualRLError


def watch(
    task: Annotated[str, typer.Argument(help="A task's name, see `residual-rl list`.")],
    controller: Annotated[str | None, typer.Option(help="The controller, alone.", show_default="the task's own")] = None,
    run: Annotated[Path | None, typer.Option(help="A run's directory: its policy instead of a controller.")] = None,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="How many.", show_default="5 in a file, in a window until it is closed")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first episode; later ones count up.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="An .mp4 or .gif for a video, a .png for a film strip.", show_default="a window")
    ] = None,
    threads: Threads = None,
) -> None:
    """Look at a controller or a run's policy: in a window where there is a display, else as a video."""
    from residual_rl.pictures.watch import watch as watch_

    if controller is not None and run is not None:
        raise ResidualRLError("--controller shows a controller alone, --run what was learned over one: give one of the two")
    with progress_bar(TextColumn("frames"), TimeRemainingColumn()) as bar:
        drawn = bar.add_task(task, total=None)

        def on_progress(done: int, total: int) -> None:
            bar.start()
            bar.update(drawn, completed=done, total=total)

        seen = watch_(
            task,
            controller,
            run=run,
            episodes=episodes,
            seed=seed,
            out=out,
            num_threads=threads,
            on_progress=on_progress,
            tell=tell,
        )
    show(seen.summary)
    if seen.path is not None:
        show(f"watch   {seen.path}")
