"""Check and convert a controller's return value into actions, and collect failures."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from residual_rl.errors import ControllerError

_failures: ContextVar[dict[int, str] | None] = ContextVar("failures", default=None)


@contextmanager
def tolerating_failures() -> Iterator[dict[int, str]]:
    """Collect which rows of a batch have no action, and why, instead of raising. These rows get an action of zeros."""
    token = _failures.set({})
    try:
        collected = _failures.get()
        assert collected is not None
        yield collected
    finally:
        _failures.reset(token)


@contextmanager
def strictly() -> Iterator[None]:
    """Raise failures again, inside `tolerating_failures`."""
    token = _failures.set(None)
    try:
        yield
    finally:
        _failures.reset(token)


def tolerated() -> dict[int, str] | None:
    """Return the rows that have failed so far, None outside of `tolerating_failures`."""
    return _failures.get()


def numbers_in(answer: Any, name: str) -> np.ndarray:
    """Return an answer of any shape as float64.

    NumPy, PyTorch and JAX arrays of any precision, lists of numbers, numbers, and `(action, None)`, which is what `predict` of
    Stable-Baselines3 returns.

    Raises:
        ControllerError: it holds no numbers; names what was returned.
    """
    if isinstance(answer, tuple) and len(answer) == 2 and answer[1] is None:
        answer = answer[0]
    if answer is None:
        raise ControllerError(f"controller {name!r} returned None instead of an action")
    try:
        array = as_array(answer)
        if array.dtype.kind in "biuf":
            return np.array(array, dtype=np.float64)
        if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 and its kind
            return array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError):
        pass
    if isinstance(answer, tuple) and len(answer) == 2:
        raise ControllerError(
            f"controller {name!r} returned a tuple of {_kind(answer[0])} and {_kind(answer[1])} instead of an action. If the "
            "second one is its state: return the action alone, and keep the state in an object with reset()"
        )
    raise ControllerError(f"controller {name!r} returned {_kind(answer)} instead of an action")


def shaped(numbers: np.ndarray, wanted: tuple[int, ...], name: str, hint: str = "") -> np.ndarray:
    """Return numbers in the shape that is wanted. Axes of length one may be missing or superfluous.

    Raises:
        ControllerError: they have another shape; names it.
    """
    if numbers.shape == wanted:
        return numbers
    if [length for length in numbers.shape if length != 1] == [length for length in wanted if length != 1]:
        return numbers.reshape(wanted)
    raise ControllerError(f"controller {name!r} returned shape {numbers.shape}{hint or f', {wanted} is needed'}")


def shaped_rows(numbers: np.ndarray, wanted: tuple[int, ...], name: str, hint: str = "") -> np.ndarray:
    """Return the actions of a batch in the shape that is wanted; NaN if all rows have failed.

    Raises:
        ControllerError: they have another shape.
    """
    failed = tolerated()
    if failed and len(failed) == wanted[0]:
        return np.full(wanted, np.nan)
    return shaped(numbers, wanted, name, hint)


def ask_each(calls: Sequence[Callable[[Any], Any]], shown: Sequence[Any], names: Sequence[str]) -> np.ndarray:
    """Ask for one action for each observation, `[B, ...]`. A row that fails is NaN if failures are tolerated.

    Raises:
        ControllerError: an answer is not an action, or the answers differ in shape.
        Exception: what a controller raises, if failures are not tolerated.
    """
    failed = tolerated()
    answers: list[np.ndarray | None] = []
    for row, (call, one, name) in enumerate(zip(calls, shown, names, strict=True)):
        try:
            answer = numbers_in(call(one), name)
            if failed is not None and not np.isfinite(answer).all():
                failed[row] = not_finite(answer.ravel(), name)
                answer = None
            answers.append(answer)
        except Exception as error:
            if failed is None:
                raise
            failed[row] = reason_of(error, name)
            answers.append(None)
    return stacked(answers, names[0] if names else "")


def stacked(answers: Sequence[np.ndarray | None], name: str) -> np.ndarray:
    """Return answers of one shape as one array `[B, ...]`, with NaN for those that are missing.

    Raises:
        ControllerError: their shapes differ.
    """
    sound = [answer for answer in answers if answer is not None]
    if not sound:
        return np.full(len(answers), np.nan)
    if shapes := sorted({answer.shape for answer in sound} - {sound[0].shape}):
        raise ControllerError(
            f"controller {name!r} returned shape {sound[0].shape} for one observation, {shapes[0]} for another"
        )
    nothing = np.full(sound[0].shape, np.nan)
    return np.stack([nothing if answer is None else answer for answer in answers])


def reason_of(error: Exception, name: str) -> str:
    """Return the message for an error that a controller raised."""
    return str(error) if isinstance(error, ControllerError) else f"controller {name!r} raised {type(error).__name__}: {error}"


def not_finite(action: np.ndarray, name: str) -> str:
    """Return the message for an action `[A]` that is not finite."""
    entry = int(np.argmin(np.isfinite(action)))
    return f"controller {name!r} returned {action[entry]} in entry {entry} of its action"


def as_array(answer: Any) -> np.ndarray:
    """Return what NumPy, PyTorch, JAX or a list holds as an array."""
    if hasattr(answer, "detach"):  # a PyTorch tensor, perhaps with a gradient, perhaps on a GPU
        there = answer.detach().cpu()
        try:
            return np.asarray(there.numpy())
        except TypeError:  # NumPy has no bfloat16
            return np.asarray(there.float().numpy())
    if isinstance(answer, list | tuple) and any(hasattr(entry, "detach") for entry in answer):
        return np.asarray([as_array(entry) for entry in answer])
    if isinstance(answer, np.ma.MaskedArray):
        return np.ma.filled(answer.astype(np.float64), np.nan)
    return np.asarray(answer)


def _kind(answer: Any) -> str:
    if answer is None or isinstance(answer, str | bytes):
        return repr(answer)[:60]
    if isinstance(answer, dict):
        return f"a dict with the keys {', '.join(map(repr, answer))}"[:100]
    if hasattr(answer, "shape"):
        return f"{type(answer).__name__} of {getattr(answer, 'dtype', 'objects')} with shape {tuple(answer.shape)}"
    return f"a {type(answer).__name__} {answer!r}"[:100]
