"""Copy a controller so that the copy shares no mutable state with it: calling the copy leaves the original unchanged.

`copy.deepcopy` does not copy functions, so a counter in a closure or a global variable would be shared. Here functions are
copied with what they close over and with the global variables that they name. Environments and simulators are shared: a copy of
one that holds a connection could end it.
"""

import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import gymnasium
import numpy as np

ATOMS = (type(None), bool, int, float, complex, str, bytes, type, ModuleType, CodeType)
DEEPEST = 200


class CannotCopy(Exception):
    """A controller cannot be copied; the message says why."""


def copy_of(call: Any, chance: int = 0, seed: int | None = None) -> Any:
    """Return an independent copy that gives the same actions.

    Args:
        call: the controller.
        chance: for 0, random generators are copied with their state; else they are seeded by it and that state.
        seed: seeds them, whatever their state is.

    Raises:
        CannotCopy: something that it holds cannot be copied.
    """
    memo: dict[int, Any] = {}
    cells: list[tuple[CellType, CellType]] = []
    spaces: dict[int, dict[str, Any]] = {}
    try:
        names = _prepare(call, memo, cells, spaces, lambda one: _reseed(one, chance, seed))
        for function, name in names:
            space = spaces[id(function.__globals__)]
            space[name] = deepcopy(function.__globals__[name], memo)
        for old, new in cells:
            new.cell_contents = deepcopy(old.cell_contents, memo)
        for function in [one for one, _ in _functions(memo)]:
            copy = memo[id(function)]
            copy.__defaults__ = deepcopy(function.__defaults__, memo)
            copy.__kwdefaults__ = deepcopy(function.__kwdefaults__, memo)
            copy.__dict__.update(deepcopy(function.__dict__, memo))
        copied = deepcopy(call, memo)
    except Exception as error:
        raise CannotCopy(f"{type(error).__name__}: {error}") from error
    if copied is call and not isinstance(call, FunctionType | type) and hasattr(call, "__dict__"):
        raise CannotCopy("its copy is itself")
    return copied


def _functions(memo: dict[int, Any]) -> Iterator[tuple[FunctionType, FunctionType]]:
    for original in list(memo.get(id(memo), [])):
        if isinstance(original, FunctionType):
            yield original, memo[id(original)]


def _prepare(
    call: Any,
    memo: dict[int, Any],
    cells: list[tuple[CellType, CellType]],
    spaces: dict[int, dict[str, Any]],
    reseed: Callable[[Any], Any],
) -> list[tuple[FunctionType, str]]:
    """Put into the memo what `deepcopy` would share or should share; return the global variables that functions name."""
    alive: list[Any] = []
    memo[id(memo)] = alive  # as deepcopy has it: what must live as long as the memo
    named: list[tuple[FunctionType, str]] = []
    new_cells: dict[int, CellType] = {}
    seen: set[int] = set()
    waiting: list[tuple[Any, int]] = [(call, 0)]
    while waiting:
        one, depth = waiting.pop()
        if isinstance(one, ModuleType):
            memo[id(one)] = one
        if isinstance(one, ATOMS) or id(one) in seen or depth > DEEPEST:
            continue
        seen.add(id(one))
        alive.append(one)
        if isinstance(one, gymnasium.Env | gymnasium.vector.VectorEnv) or _is_simulator(one):
            memo[id(one)] = one
            continue
        if (generator := reseed(one)) is not None:
            memo[id(one)] = generator
            continue
        if hasattr(type(one), "__deepcopy__"):
            continue  # it defines how it is copied
        if isinstance(one, FunctionType):
            space = spaces.setdefault(id(one.__globals__), dict(one.__globals__))
            closure = tuple(new_cells.setdefault(id(cell), CellType()) for cell in one.__closure__ or ())
            memo[id(one)] = FunctionType(one.__code__, space, one.__name__, None, closure)
            memo[id(one)].__qualname__, memo[id(one)].__module__ = one.__qualname__, one.__module__
            for cell in one.__closure__ or ():
                if _is_filled(cell):
                    if id(cell) not in seen:
                        seen.add(id(cell))
                        cells.append((cell, new_cells[id(cell)]))
                    waiting.append((cell.cell_contents, depth + 1))
            for name in _names(one.__code__) & one.__globals__.keys():
                value = one.__globals__[name]
                if isinstance(value, FunctionType) and value.__globals__ is not one.__globals__:
                    continue  # of a library
                if not isinstance(value, ATOMS):
                    named.append((one, name))
                    waiting.append((value, depth + 1))
            waiting += [(value, depth + 1) for value in (one.__defaults__, one.__kwdefaults__, one.__dict__)]
        else:
            waiting += [(value, depth + 1) for value in _inside(one)]
    return named


def _inside(one: Any) -> list[Any]:
    """Return an object's contents that may hold functions, generators or simulators."""
    if isinstance(one, MethodType):
        return [one.__self__]
    if isinstance(one, partial):
        return [one.func, one.args, one.keywords]
    if isinstance(one, dict):
        return list(one.values())
    if isinstance(one, list | tuple | set | frozenset):
        return list(one)
    slots = [name for kind in type(one).__mro__ for name in _slots(kind)]
    values = [getattr(one, name, None) for name in slots]
    return values + list(getattr(one, "__dict__", {}).values())


def _slots(kind: type) -> tuple[str, ...]:
    names = kind.__dict__.get("__slots__", ())
    return (names,) if isinstance(names, str) else tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def _names(code: CodeType) -> set[str]:
    """Return the global names that a function and those inside it may use."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _is_simulator(one: Any) -> bool:
    """Return whether it is a MuJoCo model or data, which may be very large."""
    return type(one).__module__.partition(".")[0] == "mujoco"


def _reseed(one: Any, chance: int, seed: int | None) -> Any:
    """Return a generator of the same kind in another state; None for what is none, or if its state is to be copied."""
    if not chance and seed is None:
        return None
    if isinstance(one, np.random.Generator):
        drawn = int(deepcopy(one).integers(2**31)) + chance if seed is None else seed
        return np.random.Generator(type(one.bit_generator)(drawn))  # type: ignore[call-arg]
    if isinstance(one, np.random.RandomState):
        return np.random.RandomState((int(deepcopy(one).randint(2**31 - 1)) + chance) % 2**32 if seed is None else seed)
    if isinstance(one, random.Random):
        return random.Random(deepcopy(one).getrandbits(31) + chance if seed is None else seed)
    return None
