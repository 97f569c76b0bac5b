"""The commands for users who have demonstrations: record them, clone them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from residual_rl.cli.console import Base, Horizon, Success, Threads, given, progress_bar, settings, show, tell


def record(
    task: Annotated[str, typer.Argument(help="A task's name, see `residual-rl list`, or any Gymnasium id.")],
    out: Annotated[Path, typer.Option(help="The folder to write. It must not exist yet.")],
    controller: Base = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to record.")] = 50,
    format_: Annotated[str, typer.Option("--format", help="minari or lerobot.")] = "minari",
    successful_only: Annotated[bool, typer.Option("--successful-only", help="Drop episodes that do not succeed.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=99, help="Recordings with different seeds share no initial state.")] = 0,
    frames: Annotated[
        int, typer.Option(min=1, help="Frames that the environment stacks in an image; only the newest is recorded.")
    ] = 1,
    rate: Annotated[float | None, typer.Option(min=0.0, help="Steps per second (Hz), stored with the recording.")] = None,
    horizon: Horizon = None,
    success: Success = None,
    threads: Threads = None,
) -> None:
    """Record a controller's episodes as demonstrations.

    If it is interrupted or killed, run the same command again to resume.
    """
    from residual_rl.imitation.recording import record as record_

    found = record_(
        task,
        controller,
        episodes=episodes,
        out=out,
        format=format_,
        successful_only=successful_only,
        seed=seed,
        horizon=horizon,
        frames=frames,
        rate=rate,
        num_threads=threads,
        tell=tell,
        **given(success=success),
    )
    show(f"{len(found)} demonstrations of {found.about.environment} by {found.about.controller}: {out}")


def clone(
    demonstrations: Annotated[
        str, typer.Argument(help="A folder of Minari's or LeRobot's format, a .hdf5 file of robomimic, or a local Minari id.")
    ],
    out: Annotated[Path, typer.Option(help="The folder of the clone, which `train TASK --controller FOLDER` takes.")],
    env: Annotated[
        str | None, typer.Option(help="The task or Gymnasium id in which it acts.", show_default="the one that they name")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the demonstrations.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    evaluation_episodes: Annotated[int, typer.Option(min=0, help="Episodes of the clone in the environment.")] = 100,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Frames that the environment stacks in an image.", show_default="as recorded")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another setting, such as gripper=3 or rate=0.0003. Repeatable."),
    ] = None,
    horizon: Horizon = None,
    success: Success = None,
    threads: Threads = None,
) -> None:
    """Clone a base from demonstrations, and evaluate it.

    If it is interrupted or killed, run the same command again to resume.
    """
    from rich.progress import TextColumn, TimeRemainingColumn

    from residual_rl.imitation.cloning import clone as clone_

    with progress_bar(TextColumn("{task.fields[loss]}"), TimeRemainingColumn()) as bar:
        shown = bar.add_task("epoch", total=epochs, loss="")

        def advance(row: Any, of: int) -> None:
            if not bar.live.is_started:
                bar.start()
            bar.update(shown, completed=row.epoch + 1, loss=f"held-out loss {row.held_out_loss:.3g}")
            if row.epoch + 1 == of:
                bar.stop()

        clone_(
            demonstrations,
            out=out,
            env=env,
            evaluation_episodes=evaluation_episodes,
            horizon=horizon,
            frames=frames,
            num_threads=threads,
            tell=tell,
            on_epoch=advance,
            epochs=epochs,
            seed=seed,
            **given(success=success),
            **settings(set_),
        )
    show(f"clone   {out}")
