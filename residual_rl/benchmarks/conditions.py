"""The conditions of a benchmark: machine, versions, installed peers, and suppressed output."""

import os
import platform
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from residual_rl.processes import usable_cores
from residual_rl.runs.provenance import versions

PEERS = "bench", "benchmarks beside other libraries"
"""Extra and purpose of the peers."""
INSTALL_PEERS = "pip install 'residual-rl[bench]'"
TASK = "slippery-push"
PEER_TASKS = {"push": "FetchPush-v4", "slippery-push": "FetchPush-v4", "pick-and-place": "FetchPickAndPlace-v4"}
"""Our task: the peers' environment with the same model and the same substeps."""


def conditions(peers: Sequence[str]) -> dict[str, Any]:
    """Return what is needed to repeat the numbers, and how to install missing peers."""
    packages = ("residual-rl", "mujoco", "jax", "numpy", *peers)
    missing = [name for name in peers if not installed(name)]
    return {
        "versions": versions(name for name in packages if name not in missing),
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": usable_cores()},
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,  # before the benchmark starts
        "missing": INSTALL_PEERS if missing else None,
    }


def installed(peer: str) -> bool:
    """Return whether a peer is installed."""
    try:
        version(peer)
    except PackageNotFoundError:
        return False
    return True


@contextmanager
def quiet() -> Iterator[None]:
    """Redirect the output of peers and their processes from stdout to stderr, and suppress their warnings."""
    sys.stdout.flush()
    stdout = os.dup(1)
    warned = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore"  # for the peers' processes
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        if warned is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = warned
