"""One trial on a node of a Ray cluster: what runs there, and the note of where it runs."""

import os
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from residual_rl.errors import Interrupted, RunError
from residual_rl.optional import RAY, need
from residual_rl.storage import read_json, write_json
from residual_rl.studies.attempt import RunTrial, attempt
from residual_rl.studies.trial import Trial

SHARED = ".shared"  # a file in the study's directory with the same token that every task gets
LOCK_SECONDS = 120.0  # a worker of a lost node may still be writing its last checkpoint


class Place(NamedTuple):
    """Where a trial runs; `worker.json` in its directory."""

    attempt: int
    """1, and one more each time that Ray starts the trial again."""
    host: str
    node: str
    """Ray's id of the node."""
    pid: int


def read_place(directory: Path) -> Place | None:
    """Return where a trial runs, or None if no worker has begun it."""
    path = directory / "worker.json"
    try:
        return Place(**read_json(path)) if path.exists() else None
    except (RunError, TypeError):  # replaced at this moment, as seen over a network
        return None


def forget_place(directory: Path) -> None:
    """Delete the note of an earlier call."""
    (directory / "worker.json").unlink(missing_ok=True)


def perform(values: dict[str, Any], out: str, token: str, path: list[str], run: RunTrial) -> str:
    """Run one trial in a worker of Ray.

    Ray starts it again, here or on another node, if the worker or its node is lost; it then resumes from its last checkpoint.

    Args:
        values: the trial as JSON values.
        out: the study's directory.
        token: the text of the file `SHARED`, by which a node proves that it reaches the directory of the others.
        path: where the study's process finds modules, as far as this node has these folders.
        run: runs the trial.

    Returns:
        What kept the trial from running, for the user; empty if it has an outcome, or has stopped on request.
    """
    trial = Trial(**values)
    directory = Path(out) / trial.name
    host = socket.gethostname()
    if not _is_shared(Path(out), token):
        return f"node {host} does not reach the study's directory: {out} must be a folder that all nodes share"
    sys.path += [folder for folder in path if folder not in sys.path and Path(folder).exists()]
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "log.txt").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    before = read_place(directory)
    try:
        with FileLock(directory / ".lock", timeout=LOCK_SECONDS):
            place = Place((before.attempt if before else 0) + 1, host, _node_id(), os.getpid())
            write_json(directory / "worker.json", place._asdict())
            attempt(trial, directory, run)
    except Timeout:
        return f"another worker still holds {directory}"
    except Interrupted as stop:
        print(stop, flush=True)
    except Exception:
        traceback.print_exc()  # the outcome is written
    sys.stdout.flush()
    return ""


def _is_shared(out: Path, token: str, tries: int = 5) -> bool:
    """Return whether this node sees the file that the study wrote; a network's file system may be late."""
    for left in range(tries - 1, -1, -1):
        try:
            if (out / SHARED).read_text() == token:
                return True
        except OSError:
            pass
        time.sleep(1.0 if left else 0.0)
    return False


def _node_id() -> str:
    ray = need("ray", *RAY)
    return ray.get_runtime_context().get_node_id()
