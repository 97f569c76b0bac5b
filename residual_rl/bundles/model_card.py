"""The model card of a bundle: the README of a shared bundle."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from residual_rl.errors import HubError
from residual_rl.storage import explained
from residual_rl.verdict import Side, Verdict, in_digits

CARD = "README.md"
TAGS = ["residual-policy-learning", "reinforcement-learning", "robotics"]


def model_card(manifest: Mapping[str, Any], place: str) -> str:
    """Return Markdown with the header that the Hugging Face Hub reads.

    Args:
        manifest: of the bundle, checked by `runtime.load`.
        place: the bundle's new place, as `pull` takes it.

    Raises:
        HubError: the manifest's verdict is damaged.
    """
    try:
        verdict = TypeAdapter(Verdict).validate_python(manifest["verdict"])
    except ValidationError as error:
        raise HubError(f"the bundle's verdict is damaged: {explained(error)}") from error
    header = {"library_name": "residual-rl", "pipeline_tag": "robotics", "tags": TAGS}
    sizes = manifest["sizes"]
    goals = f", goals of {sizes['goal']}" if sizes["goal"] else ""
    base, task = _code(verdict.controller), _code(verdict.task)
    maker, configuration = (_code(str(manifest.get(name))[:40]) for name in ("made_by", "config_sha256"))
    return f"""---
{json.dumps(header)}
---

# A residual over {base} for {task}

{_decision(verdict)}

| {verdict.episodes} episodes each | success | 95 % interval | mean return |
|---|---|---|---|
| {base} alone | {_row(verdict, verdict.base)} |
| with the residual | {_row(verdict, verdict.policy)} |

> {verdict}

Both were run from the same held-out initial states. This result holds for the training simulator and its initial-state
distribution only. It says nothing about other controllers or a real robot.

## Run it

The controller is not included: the residual corrects {base}, and you pass that controller's action.

```python
import residual_rl

policy = residual_rl.pull({json.dumps(place)}, "bundle")  # fetches only data, and checks it
action = policy(observation, base_action)
policy.scale = 0.0  # from now on the base alone
```

Without residual-rl, with NumPy alone: download the files, read `residual_policy.py` and then import `load` from it.

Observations of {sizes["observation"]} numbers{goals}; actions of {sizes["action"]}, in the bounds that `bundle.json` says.
Made by {maker} from the configuration {configuration}.
"""


def _decision(verdict: Verdict) -> str:
    if verdict.promoted:
        return "Base plus residual was shown to be better than the base, so the bundle delivers it."
    return (
        "**Base plus residual was not shown to be better than the base: the bundle delivers the base** until its scale is set."
    )


def _row(verdict: Verdict, side: Side) -> str:
    low, high = side.interval
    return f"{side.success_rate:.3f} | {low:.3f} to {high:.3f} | {in_digits(side.mean_return, verdict.beside(side))}"


def _code(text: str) -> str:
    """Return a name as a Markdown code span, with the characters replaced that could end it."""
    return "`" + "".join(" " if character in "`|\r\n" else character for character in text) + "`"
