"""Everything that decides a run: typed, frozen, checked when built."""

import ast
import dataclasses
import inspect
import itertools
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PlainSerializer, PlainValidator, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from residual_rl import storage
from residual_rl.errors import ResidualRLError, UnknownName
from residual_rl.learning.algorithm import Algorithm
from residual_rl.learning.algorithms import ALGORITHMS, DEFAULT
from residual_rl.learning.hindsight import Hindsight
from residual_rl.types import Measure


def algorithm_of(value: Any) -> Algorithm:
    """Return an algorithm, from itself or from its JSON, by its name in `ALGORITHMS`."""
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    if not isinstance(name, str) or name not in ALGORITHMS:
        raise UnknownName("algorithm", name, ALGORITHMS)
    kind = ALGORITHMS[name]
    if isinstance(value, Algorithm) and not isinstance(value, kind):
        raise ResidualRLError(f"algorithm {name!r} is {kind.__name__} in ALGORITHMS, not {type(value).__name__}")
    return TypeAdapter(kind).validate_python(value)


AnyAlgorithm = Annotated[Algorithm, PlainValidator(algorithm_of), PlainSerializer(storage.to_json)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """One run: a task, a controller, a learner and a budget."""

    task: str
    """A task of the library, or the name of a user-supplied environment."""
    controller: str
    """A key of `CONTROLLERS`, or the name of a table or of a callable that was passed in."""
    preset: str = "default"
    """A key of `PRESETS`, which set the values that differ from these defaults."""
    method: Literal["rpl", "scratch", "expert-explore"] = "rpl"
    """Whether a residual is learned over the controller, or a policy from scratch: a key of `METHODS`."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of all random numbers in training. Evaluations use the same initial states for every seed."""
    measured_by: Measure = "success"
    """The measure that selects the checkpoint and decides the verdict; `improve` takes the task's own."""
    steps: int = Field(default=100_000, gt=0)
    """Environment steps, base and burn-in included, evaluations excluded. Rounded up to whole cycles."""
    algorithm: AnyAlgorithm = Field(default_factory=DEFAULT)
    hindsight: Hindsight = Hindsight()
    batch_size: int = Field(default=256, gt=0)
    """Transitions of an update."""
    updates_per_cycle: int = Field(default=160, gt=0)
    """Gradient steps after each cycle's episodes."""
    episodes_per_cycle: int = Field(default=16, gt=0)
    """Episodes that run in parallel, and the number of environments."""
    overlap: bool = True
    """Whether to collect episodes while the updates on the previous cycles run. Faster, but acts with networks, and learns from
    data, that are one cycle old."""
    replay_capacity: int = Field(default=1_000_000, gt=0)
    """Transitions."""
    evaluation_interval: int = Field(default=5_000, gt=0)
    """Environment steps between evaluations."""
    evaluation_episodes: int = Field(default=100, gt=0, le=1_000_000)
    """Episodes of an evaluation, on the initial states that select the checkpoint."""
    verdict_episodes: int = Field(default=500, gt=0, le=1_000_000)
    """Episodes of base and policy each, on held-out initial states; the maximum if `judging` is "bench"."""
    judging: Literal["fixed", "bench"] = "fixed"
    """"bench" is for a single real plant: few episodes, base and policy in turns, and the verdict stops when it is certain."""


def changed(config: Config, paths: dict[str, Any]) -> Config:
    """Return the configuration with other values at `{"part.field": value}`.

    Raises:
        UnknownName: no such path.
        ResidualRLError: a value is out of range.
    """
    values = to_json(config)
    for name, value in paths.items():
        *parts, field = name.split(".")
        inner: Any = values
        for part in parts:
            inner = _entries(inner).get(part)
        if field not in _entries(inner):
            raise UnknownName("field", name, _paths(values))
        inner[int(field) if isinstance(inner, list) else field] = value
    return from_json(values)


def _entries(values: Any) -> dict[str, Any]:
    """Return the entries of a part by name, those of a list of parts by number; nothing of a value."""
    if isinstance(values, list) and values and all(isinstance(value, dict) for value in values):
        return {str(number): value for number, value in enumerate(values)}
    return values if isinstance(values, dict) else {}


def _paths(values: Any, prefix: str = "") -> list[str]:
    """Return the path of every entry: `["seed", "algorithm", "algorithm.actors.0.rate", ...]`."""
    names = []
    for key, value in _entries(values).items():
        names += [prefix + key, *_paths(value, f"{prefix}{key}.")]
    return names


def described_fields(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Yield the path, the JSON value and the meaning of every field, those of its parts included."""
    yield from _describe(config, to_json(config), "")


def _describe(record: Any, values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any, str]]:
    meanings = _field_docs(type(record))
    for field in dataclasses.fields(record):
        part, own = getattr(record, field.name), values[field.name]
        if dataclasses.is_dataclass(part):
            yield from _describe(part, own, f"{prefix}{field.name}.")
        elif isinstance(part, tuple) and part and all(dataclasses.is_dataclass(one) for one in part):
            for number, one in enumerate(part):
                yield from _describe(one, own[number], f"{prefix}{field.name}.{number}.")
        else:
            yield prefix + field.name, values[field.name], meanings.get(field.name, "")


def _field_docs(kind: type) -> dict[str, str]:
    """Return the text below each field of a class, its parents' fields included."""
    docs: dict[str, str] = {}
    for one in reversed([parent for parent in kind.__mro__ if dataclasses.is_dataclass(parent)]):
        body = ast.parse(inspect.cleandoc(inspect.getsource(one))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in itertools.pairwise(body.body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                docs[field.target.id] = " ".join(str(ast.literal_eval(below.value)).split())
    return docs


def to_json(config: Config) -> dict[str, Any]:
    """Return the configuration as plain JSON values."""
    return storage.to_json(config)


def from_json(values: dict[str, Any]) -> Config:
    """Return the configuration that `to_json` wrote.

    Raises:
        ResidualRLError: something in it is missing, unknown or out of range.
    """
    try:
        return TypeAdapter(Config).validate_python(values)
    except ValidationError as error:
        raise ResidualRLError(storage.explained(error)) from error


def differences(first: dict[str, Any], second: dict[str, Any], prefix: str = "") -> list[str]:
    """Lines `field: first -> second` for every entry in which two JSON configurations differ."""
    lines = []
    for key in sorted(first.keys() | second.keys()):
        one, other = first.get(key), second.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            lines += differences(one, other, f"{prefix}{key}.")
        elif one != other:
            lines.append(f"{prefix}{key}: {one} -> {other}")
    return lines
