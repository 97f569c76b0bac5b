"""The command that shows a controller or a policy at work."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TextColumn, TimeRemainingColumn

from residual_rl.cli.console import Env, Horizon, Threads, is_run, progress_bar, show, tell
from residual_rl.errors import ResidualRLError


def watch(
    target: Annotated[
        str, typer.Argument(help="A run directory; or a task's name or Gymnasium id, to show a controller alone.")
    ],
    controller: Annotated[
        str | None,
        typer.Option(
            help="A controller's name, or its .npz, .safetensors or .onnx file.", show_default="the task's or the run's own"
        ),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="A run directory, if TARGET names its task.")] = None,
    env: Env = None,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Number of episodes.", show_default="5; in a window until it is closed")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first episode; later ones count up.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file: .mp4 or .gif for a video, .png for a film strip.", show_default="a window if there is one"
        ),
    ] = None,
    horizon: Horizon = None,
    threads: Threads = None,
) -> None:
    """Show a controller or a run's policy: in a window if there is a display, else as a video.

    Gymnasium environments are always shown as a video.
    """
    from residual_rl.controllers.resolve import is_file_of_controller
    from residual_rl.pictures.watch import watch as watch_
    from residual_rl.runs.reading import read_config

    if run is None and is_run(target):
        run = Path(target)
        target = env or read_config(run).task
    elif run is not None and controller is not None and not is_file_of_controller(str(controller)):
        raise ResidualRLError("--run shows a run's policy, --controller NAME a controller alone: give one of the two")
    with progress_bar(TextColumn("drawn"), TimeRemainingColumn()) as bar:
        drawn = bar.add_task(target, total=None)

        def on_progress(done: int, total: int) -> None:
            bar.start()
            bar.update(drawn, completed=done, total=total)

        seen = watch_(
            env or target,
            controller,
            run=run,
            episodes=episodes,
            seed=seed,
            out=out,
            horizon=horizon,
            num_threads=threads,
            on_progress=on_progress,
            tell=tell,
        )
    show(seen.summary)
    if seen.path is not None:
        show(f"watch   {seen.path}")
