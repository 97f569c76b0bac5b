"""Everything that decides a run: typed, frozen, checked when built."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from residual_rl import records
from residual_rl.errors import ResidualRLError, UnknownName
from residual_rl.learning.burn_in import FixedBurnIn
from residual_rl.learning.ddpg import DDPG
from residual_rl.learning.gated_ddpg import GatedDDPG
from residual_rl.learning.hindsight import Hindsight
from residual_rl.types import Measure

METHODS = {
    "rpl": "learn a residual over the controller",
    "scratch": "learn without a controller: the same code over Zero",
    "expert-explore": "learn from scratch, while in a share of the training steps the controller acts; preset silver2018",
}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config:
    """One run: a task, a controller, a learner and a budget."""

    task: str
    controller: str
    """A key of `CONTROLLERS`, or the name of a table or of a callable that was passed in."""
    preset: str = "default"
    method: Literal["rpl", "scratch", "expert-explore"] = "rpl"
    seed: int = Field(default=0, ge=0, lt=2**32)
    measured_by: Measure = "success"
    """What selects the checkpoint and decides the verdict; `improve` takes the task's own."""
    steps: int = Field(default=100_000, gt=0)
    """Environment steps, base and burn-in included, evaluations excluded. Rounded up to whole cycles."""
    algorithm: Annotated[DDPG | GatedDDPG, Field(discriminator="name")] = Field(default_factory=GatedDDPG)
    hindsight: Hindsight = Hindsight()
    batch_size: int = Field(default=256, gt=0)
    updates_per_cycle: int = Field(default=160, gt=0)
    episodes_per_cycle: int = Field(default=16, gt=0)
    overlap: bool = True
    """Whether a cycle's episodes are collected while the updates on the earlier ones are made, with the networks from before
    them. Faster; what is acted with and learned from is a cycle older."""
    replay_capacity: int = Field(default=1_000_000, gt=0)
    """Transitions."""
    evaluation_interval: int = Field(default=5_000, gt=0)
    """Environment steps between evaluations."""
    evaluation_episodes: int = Field(default=100, gt=0, le=1_000_000)
    """Episodes of an evaluation, on the states that select the checkpoint."""
    verdict_episodes: int = Field(default=500, gt=0, le=1_000_000)
    """Episodes of base and policy each, on states that nothing else uses."""


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": (
        "the recommended learner: the residual acts only where the critics agree that it beats the base",
        {"algorithm": GatedDDPG(), "hindsight": Hindsight(keep_achieved_ratio=0.25)},
    ),
    "silver2018": (
        "DDPG + HER as published with Silver et al. 2018, in one process",
        {
            "algorithm": DDPG(),
            "hindsight": Hindsight(keep_achieved_ratio=1.0),
            "episodes_per_cycle": 8,
            "updates_per_cycle": 40,
            "overlap": False,
        },
    ),
}
"""Name: a line about it, and the fields that it sets. Everything else is the default of `Config`."""


def make_config(preset: str = "default", **fields: Any) -> Config:
    """A configuration from a preset and the fields that differ from it.

    A field of a part is named by its path: `make_config("default", task=..., controller=..., **{"algorithm.pessimism": 0.5})`.

    Raises:
        UnknownName: no such preset, method or path.
        ResidualRLError: a field's value is out of range, or a controller does not go with the method; the message names the
            field and the value.
    """
    if preset not in PRESETS:
        raise UnknownName("preset", preset, PRESETS)
    if fields.get("method", "rpl") not in METHODS:
        raise UnknownName("method", fields["method"], METHODS)
    paths = {name: fields.pop(name) for name in list(fields) if "." in name}
    fields = PRESETS[preset][1] | fields
    algorithm = fields["algorithm"]
    if fields.get("method") == "scratch" and isinstance(algorithm, DDPG):
        fields["algorithm"] = _without_base(algorithm)
    if fields.get("method") == "expert-explore":
        if not isinstance(algorithm, DDPG):
            raise ResidualRLError("method 'expert-explore' is a way of DDPG to explore: it needs preset 'silver2018'")
        fields["algorithm"] = _with_expert(_without_base(algorithm))
    try:
        config = Config(preset=preset, **fields)
    except ValidationError as error:
        raise ResidualRLError(records.explained(error)) from error
    if config.method == "scratch" and config.controller != "zero":
        raise ResidualRLError(
            f"method 'scratch' learns without a controller, not over {config.controller!r}; use method 'rpl' to improve one"
        )
    return changed(config, paths) if paths else config


def _without_base(algorithm: DDPG) -> DDPG:
    """As published: without a base there is nothing to burn in for, and nothing to double."""
    return replace(algorithm, burn_in=FixedBurnIn(cycles=0), composition=replace(algorithm.composition, scale=1.0))


def _with_expert(algorithm: DDPG) -> DDPG:
    """Expert-explore, as the paper has it. Where the base takes no part in the sum, hindsight need not ask it again.

    Source: Silver et al. 2018. Differs: the published code has an epsilon of 0.3 to 0.6, by task and script.
    """
    if not algorithm.expert_ratio:
        algorithm = replace(algorithm, random_ratio=0.6, expert_ratio=0.8)
    return replace(algorithm, composition=replace(algorithm.composition, adds_base=False, relabel="keep"))


def changed(config: Config, paths: dict[str, Any]) -> Config:
    """The configuration with other values at `{"part.field": value}`.

    Raises:
        UnknownName: no such path.
        ResidualRLError: a value is out of range.
    """
    values = to_json(config)
    for name, value in paths.items():
        *parts, field = name.split(".")
        inner = values
        for part in parts:
            inner = inner.get(part) if isinstance(inner, dict) else None
        if not isinstance(inner, dict) or field not in inner:
            raise UnknownName("field", name, _paths(values))
        inner[field] = value
    return from_json(values)


def _paths(values: dict[str, Any], prefix: str = "") -> list[str]:
    """The path of every entry: `["seed", "algorithm", "algorithm.actor_rate", ...]`."""
    names = []
    for key, value in values.items():
        names += [prefix + key, *(_paths(value, f"{prefix}{key}.") if isinstance(value, dict) else ())]
    return names


def to_json(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON values."""
    return records.to_json(config)


def from_json(values: dict[str, Any]) -> Config:
    """The configuration that `to_json` wrote.

    Raises:
        ResidualRLError: something in it is missing, unknown or out of range.
    """
    try:
        return TypeAdapter(Config).validate_python(values)
    except ValidationError as error:
        raise ResidualRLError(records.explained(error)) from error


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
