"""Serve a controller to another process over a local socket. This file needs NumPy alone and can be copied into any Python 3.8.

A message is a length, a JSON header and the bytes of arrays. Nothing is pickled, and nothing that arrives is executed.

    from serving import serve
    serve(controller, "127.0.0.1:5000")
"""

import json
import os
import socket
import struct
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

LARGEST = 1 << 32  # bytes of a message
PREFIX = struct.Struct("<QI")  # bytes of the whole message, bytes of its header
TYPES = frozenset(
    ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"]
)
DECLARED = ("reads_goal", "is_random", "takes_batch")


def serve(controller: Callable[[Any], Any], address: str, ready: Callable[[str], Any] = print) -> None:
    """Answer requests for actions, one client after the other, until the process is ended.

    Args:
        controller: from a batch of what the environment shows, `[B, ...]`, to actions `[B, *A]` in its units. If it has
            `reset(mask)`, it is stateful, as everywhere.
        address: "host:port" (port 0: any free one), or the path of a Unix socket. There is no authentication: use a host that
            others cannot reach, such as 127.0.0.1.
        ready: called with the address once clients can connect.
    """
    listener = _listening(address)
    with listener:
        bound = listener.getsockname()
        ready(bound if isinstance(bound, str) else "{}:{}".format(*bound[:2]))
        while True:
            connection, _ = listener.accept()
            with connection:
                try:
                    _answer_all(controller, connection)
                except (ConnectionError, ValueError):
                    continue  # the client has gone, or speaks something else


def _listening(address: str) -> socket.socket:
    family, where = family_of(address)
    if family != socket.AF_INET and os.path.exists(address):
        os.unlink(address)
    listener = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(where)
    listener.listen(1)
    return listener


def _answer_all(controller: Callable[[Any], Any], connection: socket.socket) -> None:
    while True:
        header, arrays = receive(connection)
        try:
            answer = _answer(controller, header, arrays)
        except Exception as error:  # the client names it
            send(connection, {"error": "{}: {}".format(type(error).__name__, error)}, {})
        else:
            send(connection, *answer)


def _answer(controller: Any, header: Dict[str, Any], arrays: Dict[str, np.ndarray]) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    request = header.get("request")
    if request == "describe":
        declared = {name: bool(getattr(controller, name)) for name in DECLARED if hasattr(controller, name)}
        name = getattr(controller, "__name__", type(controller).__name__)
        return {"name": name, "declared": declared, "is_stateful": callable(getattr(controller, "reset", None))}, {}
    if request == "reset":
        controller.reset(arrays["mask"])
        return {}, {}
    if request == "act":
        return {}, {"action": np.asarray(controller(nested(arrays, header["alone"])))}
    raise ValueError("there is no request {!r}".format(request))


def family_of(address: str) -> Tuple[int, Any]:
    """Return the family of a socket, and its address as sockets take it."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in address:
        return socket.AF_INET, (host, int(port))
    return getattr(socket, "AF_UNIX", socket.AF_INET), address


def send(connection: socket.socket, header: Dict[str, Any], arrays: Dict[str, np.ndarray]) -> None:
    """Send a header and arrays by name.

    Raises:
        ValueError: an array is not of numbers.
    """
    parts: List[bytes] = []
    described = []
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.dtype.name not in TYPES:
            raise ValueError("{!r} is {}: only arrays of numbers can be sent".format(name, array.dtype))
        array = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        described.append([name, array.dtype.name, list(array.shape)])
        parts.append(array.tobytes())
    head = json.dumps(dict(header, arrays=described)).encode()
    size = len(head) + sum(len(part) for part in parts)
    connection.sendall(b"".join([PREFIX.pack(size, len(head)), head] + parts))


def receive(connection: socket.socket) -> Tuple[Dict[str, Any], Dict[str, np.ndarray]]:
    """Return the next message.

    Raises:
        ConnectionError: the other side has gone.
        ValueError: it is no message.
    """
    size, head = PREFIX.unpack(_exactly(connection, PREFIX.size))
    if size > LARGEST or head > size:
        raise ValueError("this is no message of a served controller")
    content = _exactly(connection, size)
    try:
        header = json.loads(bytes(content[:head]).decode())
        return header, _arrays(header.pop("arrays"), content, head)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("this is no message of a served controller: {!r}".format(error)) from error


def _arrays(described: List[Any], content: bytearray, start: int) -> Dict[str, np.ndarray]:
    """Return the arrays that lie in a message one after the other."""
    arrays = {}
    for name, kind, shape in described:
        if kind not in TYPES or any(not isinstance(length, int) or length < 0 for length in shape):
            raise ValueError("array {!r} is of type {!r} and shape {!r}".format(name, kind, shape))
        dtype = np.dtype(kind).newbyteorder("<")
        number = 1
        for length in shape:
            number *= length
        stop = start + number * dtype.itemsize
        if stop > len(content):
            raise ValueError("array {!r} is longer than its message".format(name))
        arrays[name] = np.frombuffer(content, dtype, number, start).reshape(shape).astype(kind)
        start = stop
    return arrays


def _exactly(connection: socket.socket, size: int) -> bytearray:
    content = bytearray(size)
    view = memoryview(content)
    while len(view):
        received = connection.recv_into(view)
        if received == 0:
            raise ConnectionError("the connection was closed")
        view = view[received:]
    return content


def flattened(shown: Any, path: Tuple[str, ...] = ()) -> Dict[str, np.ndarray]:
    """Return nested arrays by their keys, each escaped and joined by "/"."""
    if isinstance(shown, dict):
        return {
            name: array
            for key, value in shown.items()
            for name, array in flattened(value, path + (str(key).replace("~", "~0").replace("/", "~1"),)).items()
        }
    return {"/".join(path): np.asarray(shown)}


def nested(arrays: Dict[str, np.ndarray], alone: bool) -> Any:
    """Return the inverse of `flattened`; `alone` if it was a single array."""
    if alone:
        return arrays[""]
    outer: Dict[str, Any] = {}
    for name, array in arrays.items():
        keys = [key.replace("~1", "/").replace("~0", "~") for key in name.split("/")]
        inner = outer
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = array
    return outer
