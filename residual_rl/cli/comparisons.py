"""The commands that compare without training: any two controllers, and an unfinished run with its base."""

import json
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from residual_rl.cli.console import Json, Success, Threads, complaints, console, given, show, tell
from residual_rl.custom.making import gymnasium_maker
from residual_rl.errors import Interrupted, ResidualRLError
from residual_rl.tasks import is_task


def means_run(target: str) -> bool:
    """Return whether a name means a directory. An environment's name takes precedence: `./NAME` means the directory."""
    if is_task(target) or not Path(target).is_dir():
        return False
    if not re.search(r"-v\d+$", target):  # what Gymnasium's ids end in
        return True
    try:
        gymnasium_maker(target)
    except ResidualRLError:
        return True
    return False


def compare(
    env: Annotated[str, typer.Argument(help="A task's name, see `residual-rl list`, or any Gymnasium id.")],
    base: Annotated[str, typer.Option(help="The reference controller: its name, its file, or a folder, as for train.")],
    policy: Annotated[str, typer.Option(help="The controller to compare with it.")],
    episodes: Annotated[
        int, typer.Option(min=1, help="Episodes of each controller, at most; it stops earlier if the result is certain.")
    ] = 500,
    horizon: Annotated[
        int | None, typer.Option(min=1, help="Steps after which an episode is cut.", show_default="the environment's own")
    ] = None,
    success: Success = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Compare two controllers from the same initial states.

    The exit status is 1 if the policy is significantly worse, and 2 if they could not be compared.
    """
    from residual_rl.api import compare as compare_

    try:
        found = compare_(
            env, base, policy, episodes=episodes, horizon=horizon, num_threads=threads, tell=tell, **given(success=success)
        )
    except Interrupted:
        raise
    except ResidualRLError as error:  # 1 would say that the policy is worse
        complaints.print(Text(f"error: {error}", style="red"), highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    if as_json:
        values = found.to_json() | {"conclusion": found.conclusion, "better": found.better, "worse": found.worse}
        print(json.dumps(values))
    else:
        show(f"{found.task}, {found.episodes} episodes each: {found}")
    if found.worse:
        raise typer.Exit(1)


def judge(
    run: Annotated[Path, typer.Argument(help="The directory of an unfinished run.")],
    episodes: Annotated[
        int | None,
        typer.Option(min=1, help="Episodes of the base and of the policy.", show_default="as many as the final verdict has"),
    ] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Judge the policy that an unfinished run has selected so far, on initial states that its final verdict does not use.

    The judgement is saved in the run: `residual_rl.load(RUN, unfinished=True)` uses it, and training can continue.
    """
    from residual_rl.judging.runs import judge as judge_

    verdict = judge_(run, episodes=episodes, num_threads=threads)
    if as_json:
        print(json.dumps(verdict.to_json()))
        return
    console.print(Text(str(verdict), style="bold"), highlight=False, soft_wrap=True)
    show(f"run     {run}, unfinished; start the same training again to resume")
