"""A controller that runs in another process or another Python, asked over a local socket."""

import socket
from typing import Any

import numpy as np

from residual_rl.controllers.serving import family_of, flattened, receive, send
from residual_rl.errors import ControllerError


def remote(address: str, *, timeout: float = 10.0) -> "Remote":
    """Return the controller that a server offers, so that its packages need not fit ours.

    The server is `residual_rl/controllers/serving.py`, one file that needs NumPy alone: `serve(controller, address)`. Arrays
    are sent as they are, so actions are the same bits as in the server.

    Args:
        address: "host:port", or the path of a Unix socket.
        timeout: seconds in which an answer must come.

    Raises:
        ControllerError: nothing answers there; or, when it is called, the server has ended, is too slow, or its controller
            raised.
    """
    return Remote(address, timeout)


class Remote:
    """See `remote`."""

    takes_batch = True

    def __init__(self, address: str, timeout: float):
        self._connection: socket.socket | None = None
        if not timeout > 0.0:
            raise ControllerError(f"timeout must be above 0 s, not {timeout!r}")
        self.address, self.timeout = address, timeout
        described, _ = self._ask({"request": "describe"}, {})
        self.__name__ = str(described["name"])
        for name, value in dict(described["declared"]).items():
            if name in ("reads_goal", "is_random", "takes_batch"):
                setattr(self, name, bool(value))
        if described["is_stateful"]:
            self.reset = self._reset

    def __call__(self, shown: Any) -> np.ndarray:
        """Return the server's actions for a batch of what the environment shows."""
        _, arrays = self._ask({"request": "act", "alone": not isinstance(shown, dict)}, flattened(shown))
        return arrays["action"]

    def _reset(self, mask: np.ndarray) -> None:
        self._ask({"request": "reset"}, {"mask": np.asarray(mask, bool)})

    def __deepcopy__(self, memo: dict[int, Any]) -> "Remote":
        """Return itself: there is one server."""
        return self

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        try:
            if self._connection is None:
                self._connection = self._connected()
            send(self._connection, header, arrays)
            answer, values = receive(self._connection)
        except TimeoutError as error:
            self.close()  # an answer that comes later must not be taken for that to another question
            raise ControllerError(
                f"the controller at {self.address} did not answer within {self.timeout:g} s; remote(..., timeout=) allows more"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.close()
            raise ControllerError(
                f"no controller answers at {self.address}: {error}; start its server, see residual_rl.controllers.serving"
            ) from error
        if "error" in answer:
            raise ControllerError(f"the controller at {self.address} raised {answer['error']}")
        return answer, values

    def _connected(self) -> socket.socket:
        family, where = family_of(self.address)
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(self.timeout)
        try:
            connection.connect(where)
        except OSError:
            connection.close()
            raise
        if family == socket.AF_INET:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
