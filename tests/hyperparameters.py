"""Write docs/reference/hyperparameters.md, all hyperparameters on one page: `python tests/hyperparameters.py`."""

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from residual_rl.config import Config, described_fields
from residual_rl.presets import PACED, PRESETS, make_config

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "hyperparameters.md"
RENEW = "python tests/hyperparameters.py"

SECTIONS = {
    "": "The run",
    "hindsight.": "Hindsight",
    "algorithm.": "The learner",
    "algorithm.composition.": "Composition of base action and residual",
    "algorithm.burn_in.": "Burn-in",
    "algorithm.actors.0.": "The small actor",
    "algorithm.actors.1.": "The free actor",
    "algorithm.bandit.": "Bandit",
}
"""Title of a section by the prefix of its paths."""

HEAD = """# Hyperparameters

*This page is generated from the code. After a change, `{renew}` renews it.*

Every field of a run's configuration, with its default in each preset. Set any of them by its path: `--set PATH=VALUE` on the
command line, `improve(..., **{{"PATH": VALUE}})` in Python. An empty cell means that the preset has no such
field.

`residual-rl config TASK` prints the values for one task. Unless you set them, these fields differ from this page:

- {paced} and the cycles and updates of a fixed burn-in follow the length of the episodes and the budget, see [what judging
  costs](command-line.md#what-judging-costs).
- `measured_by` is the task's own.
- `hindsight.relabel_ratio` is 0 in an environment whose rewards cannot be computed for other goals.
- `algorithm.composition.actor_sees_base` is true over a stochastic or stateful base.
- `silver2018` has the values that were published for the task.
"""


def type_name(kind: Any) -> str:
    """Return what a field may be, in the words of JSON and Python."""
    if get_origin(kind) is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(type_name(one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return f"list of ({inner})" if " or " in (inner := type_name(get_args(kind)[0])) else f"list of {inner}"
    return "null" if kind is type(None) else kind.__name__


def rows(config: Config) -> Iterator[tuple[str, str, str, str]]:
    """Yield path, type, default and meaning of every field."""
    for path, value, meaning in described_fields(config):
        record: Any = config
        *parts, name = path.split(".")
        for part in parts:
            record = record[int(part)] if part.isdigit() else getattr(record, part)
        yield path, type_name(get_type_hints(type(record))[name]), f"`{json.dumps(value)}`", meaning


def page() -> str:
    """Return the text of the page."""
    found: dict[str, dict[str, tuple[str, str, str, str]]] = {}
    for preset in PRESETS:
        for row in rows(make_config(preset, task="TASK", controller="CONTROLLER")):
            found.setdefault(row[0], {})[preset] = row
    lines = [HEAD.format(renew=RENEW, paced=", ".join(f"`{name}`" for name in PACED))]
    for prefix, title in SECTIONS.items():
        lines += [
            f"## {title}",
            "",
            f"| path | type | {' | '.join(PRESETS)} | meaning |",
            "|---|---|" + "---|" * (len(PRESETS) + 1),
        ]
        for path, by_preset in found.items():
            if path.rpartition(".")[0] != prefix.removesuffix("."):
                continue
            kinds = list(dict.fromkeys(row[1] for row in by_preset.values()))
            required = path in ("task", "controller")
            values = [by_preset[preset][2] if preset in by_preset and not required else "" for preset in PRESETS]
            meanings = {row[3]: preset for preset, row in reversed(by_preset.items())}
            first, *others = reversed(meanings.items())
            meaning = first[0] + "".join(f" In `{preset}`: {other}" for other, preset in others)
            lines.append(f"| `{path}` | {' or '.join(kinds)} | {' | '.join(values)} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
