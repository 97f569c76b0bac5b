"""Policies that predict chunks, and controllers in other processes."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import Aim

import residual_rl
from residual_rl.controllers import serving
from residual_rl.errors import ControllerError, RunError

LENGTH = 4


class Counting:
    """Predicts `100 * what is shown + 1, 2, ...`, and keeps which rows it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[float]] = []

    def __call__(self, shown: np.ndarray) -> np.ndarray:
        self.asked.append(shown[:, 0].tolist())
        return 100.0 * shown[:, None, :] + np.arange(1, LENGTH + 1)[None, :, None]


def test_rows_that_ran_out_are_asked_as_one_batch() -> None:
    policy = Counting()
    controller = residual_rl.chunked(policy, execute=3)
    controller.reset(np.ones(3, bool))
    answers = [controller(np.full((3, 1), step, float)) for step in range(2)]
    controller.reset(np.array([False, True, False]))  # the second episode ended
    answers += [controller(np.full((3, 1), step, float)) for step in range(2, 6)]
    lanes = np.concatenate(answers, axis=1)
    np.testing.assert_array_equal(lanes[0], [1, 2, 3, 301, 302, 303])
    np.testing.assert_array_equal(lanes[1], [1, 2, 201, 202, 203, 501])
    np.testing.assert_array_equal(lanes[2], lanes[0])
    assert policy.asked == [[0.0] * 3, [2.0], [3.0] * 2, [5.0]]


def test_temporal_ensembling_averages_the_chunks_that_cover_a_step() -> None:
    controller = residual_rl.chunked(Counting(), execute=1, ensemble=0.5)
    controller.reset(np.ones(2, bool))
    chunks, answers = [], []
    for step in range(6):
        shown = np.array([[step], [10.0 + step]])
        chunks.append(Counting()(shown))
        answers.append(controller(shown))
    for step in range(6):
        covering = [(made, step - made) for made in range(max(0, step - LENGTH + 1), step + 1)]  # the oldest first
        weights = np.exp(-0.5 * np.arange(len(covering)))
        wanted = sum(weight * chunks[made][:, place] for weight, (made, place) in zip(weights, covering, strict=True))
        np.testing.assert_allclose(answers[step], wanted / weights.sum())


def test_chunks_that_cannot_be_used_are_named() -> None:
    with pytest.raises(ControllerError, match="execute must be a whole number of at least 1, not 0"):
        residual_rl.chunked(Counting(), execute=0)
    with pytest.raises(ControllerError, match=r"chunks of shape \(2, 4, 1\): it must be \(2, H, ...\), H at least 5"):
        residual_rl.chunked(Counting(), execute=5)(np.zeros((2, 1)))


def test_a_chunked_policy_is_evaluated_in_an_environment() -> None:
    def ahead(shown: np.ndarray) -> np.ndarray:
        return np.repeat(1 + 2 * shown[:, None], 2, axis=1)

    one = residual_rl.evaluate(Aim, residual_rl.chunked(ahead, execute=1), episodes=30, horizon=9, tell=None)
    plain = residual_rl.evaluate(Aim, lambda shown: 1 + 2 * shown, episodes=30, horizon=9, tell=None)
    two = residual_rl.evaluate(Aim, residual_rl.chunked(ahead, execute=2), episodes=30, horizon=9, tell=None)
    assert one.base.mean_return == pytest.approx(plain.base.mean_return)
    assert two.base.mean_return < plain.base.mean_return  # it acts on what was shown a step earlier


@pytest.fixture
def served() -> Callable[..., str]:
    """Serve a controller from a thread of this process."""

    def start(controller: Any) -> str:
        told: list[str] = []
        threading.Thread(target=serving.serve, args=(controller, "127.0.0.1:0", told.append), daemon=True).start()
        while not told:
            time.sleep(0.01)
        return told[0]

    return start


SERVER = """
import sys, importlib.util
spec = importlib.util.spec_from_file_location("serving", {file!r})
serving = importlib.util.module_from_spec(spec)
spec.loader.exec_module(serving)
import numpy as np
weights = np.random.default_rng(0).normal(size=(1, 1))
serving.serve(lambda shown: np.tanh(shown * 3.7) @ weights, "127.0.0.1:0", lambda address: print(address, flush=True))
"""


def here(shown: np.ndarray) -> np.ndarray:
    """What the server below computes."""
    return np.tanh(shown * 3.7) @ np.random.default_rng(0).normal(size=(1, 1))


def test_a_controller_in_another_process_gives_the_same_bits_and_its_death_is_named(tmp_path: Path) -> None:
    code = SERVER.format(file=serving.__file__)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            controller = residual_rl.remote(address)
            shown = np.random.default_rng(1).normal(size=(5, 1)).astype(np.float32)
            np.testing.assert_array_equal(controller(shown), here(shown))
            far, near = (
                residual_rl.evaluate(Aim, one, episodes=20, horizon=9, tell=None).base.mean_return for one in (controller, here)
            )
            assert far == near
        finally:
            server.kill()
            server.wait()
        with pytest.raises(ControllerError, match=f"no controller answers at {address}"):
            controller(shown)
        with pytest.raises(ControllerError, match=f"no controller answers at {address}.*start its server"):
            residual_rl.remote(address)


def test_a_slow_server_is_timed_and_errors_are_passed_on(served: Callable[..., str]) -> None:
    def slow(shown: np.ndarray) -> np.ndarray:
        if shown[0, 0] > 0.0:
            time.sleep(1.0)
        if shown[0, 0] < 0.0:
            raise ValueError("no plan")
        return shown

    address = served(slow)
    controller = residual_rl.remote(address, timeout=0.3)
    np.testing.assert_array_equal(controller(np.zeros((1, 1))), [[0.0]])
    with pytest.raises(ControllerError, match="raised ValueError: no plan"):
        controller(-np.ones((1, 1)))
    began = time.monotonic()
    with pytest.raises(ControllerError, match=f"the controller at {address} did not answer within 0.3 s"):
        controller(np.ones((1, 1)))
    assert time.monotonic() - began < 0.9
    time.sleep(1.0)
    np.testing.assert_array_equal(controller(np.zeros((1, 1))), [[0.0]])  # not the late answer


def test_dictionaries_and_memory_are_served(served: Callable[..., str]) -> None:
    class Policy:
        is_random = False

        def __call__(self, shown: Any) -> np.ndarray:
            assert shown["arm"]["joint/1"].dtype == np.float32
            assert shown["camera"].dtype == np.uint8
            return shown["arm"]["joint/1"] + self.mask[:, None]

        def reset(self, mask: np.ndarray) -> None:
            self.mask = mask

    controller = residual_rl.remote(served(Policy()))
    assert (controller.__name__, controller.is_random) == ("Policy", False)
    controller.reset(np.array([True, False]))
    shown = {"arm": {"joint/1": np.ones((2, 1), np.float32)}, "camera": np.zeros((2, 3, 3), np.uint8)}
    np.testing.assert_array_equal(controller(shown), [[2.0], [1.0]])


def test_what_is_no_message_is_refused(served: Callable[..., str]) -> None:
    import socket

    host, port = served(here).split(":")
    for content in (b"GET / HTTP/1.1\r\n\r\n" * 10, serving.PREFIX.pack(10, 2) + b"{}" + b"x" * 8):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(content)
            with suppress(ConnectionResetError):
                assert connection.recv(10) == b""  # closed
    controller = residual_rl.remote(f"{host}:{port}")  # it still serves others
    assert controller(np.zeros((1, 1))).shape == (1, 1)
    with pytest.raises(RunError):
        residual_rl.load("no/run", controller)
