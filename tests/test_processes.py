"""What asking a controller in processes promises: the same proposals, and clear errors."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import residual_rl
from residual_rl.controllers.controller import can_be_requeried, is_stateful, name_of, reads_goal
from residual_rl.controllers.workers import InProcesses
from residual_rl.errors import ControllerError

SHOWN = {"speed": np.linspace(0.0, 1.0, 7)[:, None], "arm": {"angle": np.arange(21.0).reshape(7, 3)}}


class Planner:
    """Has no memory, and says of itself that it may be asked again."""

    can_be_requeried = True
    reads_goal = False

    def __call__(self, shown: Any) -> Any:
        if shown["speed"][0] > 5.0:
            raise ValueError("too fast")
        if shown["speed"][0] < -5.0:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.append(shown["speed"], os.getpid() if shown["speed"][0] == -1.0 else shown["arm"]["angle"].sum())


class Counter:
    """Adds up what it was shown since its episode began."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.total = 0.0

    def __call__(self, shown: Any) -> list[float]:
        self.total += float(shown["speed"][0])
        return [self.total]


@pytest.fixture(scope="module")
def planner() -> Iterator[InProcesses]:
    with residual_rl.in_processes(Planner, workers=2) as controller:
        yield controller


def in_speeds(*speeds: float) -> Any:
    return {"speed": np.array(speeds)[:, None], "arm": {"angle": np.zeros((len(speeds), 3))}}


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_proposals_are_those_of_one_controller_in_this_process(planner: InProcesses, rows: int) -> None:
    shown = {"speed": SHOWN["speed"][:rows], "arm": {"angle": SHOWN["arm"]["angle"][:rows]}}
    assert np.array_equal(planner(shown), residual_rl.batched(Planner())(shown))


def test_what_a_controller_says_about_itself_is_said_on(planner: InProcesses) -> None:
    assert name_of(planner) == "Planner"
    assert can_be_requeried(planner)
    assert not reads_goal(planner)
    assert not is_stateful(planner)


def test_a_batch_is_shared_out(planner: InProcesses) -> None:
    processes = planner(in_speeds(-1.0, -1.0, -1.0, -1.0))[:, 1]
    assert len({os.getpid(), *processes}) == 3


def test_ctrl_c_leaves_the_processes_to_the_one_that_asks(planner: InProcesses) -> None:
    for process in planner(in_speeds(-1.0, -1.0))[:, 1]:
        os.kill(int(process), signal.SIGINT)
    assert planner(in_speeds(0.5, 0.6))[:, 0].tolist() == [0.5, 0.6]


def test_what_a_controller_raises_is_told_and_it_can_be_asked_again(planner: InProcesses) -> None:
    with pytest.raises(ControllerError, match="controller 'Planner' raised ValueError: too fast"):
        planner(in_speeds(0.0, 9.0))
    assert planner(in_speeds(0.5, 0.6))[:, 0].tolist() == [0.5, 0.6]


ASKING = """
import os, signal
import residual_rl
from test_processes import Planner, in_speeds

if __name__ == "__main__":
    planner = residual_rl.in_processes(Planner, workers=1)
    print(int(planner(in_speeds(-1.0))[0, 1]), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")
def test_processes_end_with_the_one_that_asks_even_if_it_is_killed(tmp_path: Path) -> None:
    (tmp_path / "asking.py").write_text(ASKING)
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    killed = subprocess.run(
        [sys.executable, tmp_path / "asking.py"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    worker = int(killed.stdout)
    deadline = time.monotonic() + 20.0
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(worker)


def is_running(process: int) -> bool:
    """Return whether a process has not ended; one that nobody has waited for yet has."""
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_a_process_that_died_is_told() -> None:
    with (
        residual_rl.in_processes(Planner, workers=1) as controller,
        pytest.raises(ControllerError, match="a process of controller 'Planner' has ended"),
    ):
        controller(in_speeds(-9.0))


def test_each_lane_remembers_its_own_episode() -> None:
    with residual_rl.in_processes(lambda: Counter(), workers=2) as controller:
        assert is_stateful(controller)
        inside = residual_rl.per_lane(Counter)
        for mask in ([True, True, True], [False, True, False], [False, False, False], [True, True, True, True]):
            for one in (controller, inside):
                one.reset(np.array(mask))
            for speed in (1.0, 0.25):
                shown = in_speeds(*(speed * (1 + np.arange(len(mask)))))
                assert np.array_equal(controller(shown), inside(shown))


def test_a_controller_that_cannot_be_made_is_told() -> None:
    def make() -> Planner:
        raise FileNotFoundError("no model")

    with pytest.raises(ControllerError, match="controller 'make' raised FileNotFoundError: no model"):
        residual_rl.in_processes(make, workers=1)
    with pytest.raises(ControllerError, match="workers must be at least 1, not 0"):
        residual_rl.in_processes(Planner, workers=0)
