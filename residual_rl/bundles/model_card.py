"""What a bundle says of itself to people: the README that goes with it where it is shared."""

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
    """Markdown with the header that the Hugging Face Hub reads.

    Args:
        manifest: what the bundle's `bundle.json` says; `runtime.load` has read it.
        place: where the bundle is going to be, as `pull` takes it.

    Raises:
        HubError: the manifest's verdict is none.
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
| {base} alone | {_row(verdict.base)} |
| with the residual | {_row(verdict.policy)} |

> {verdict}

Both were run from the same initial states, which training never saw. This speaks of the simulator it was trained in and of the
starts drawn there, of nothing else: not of another controller, not of a real robot.

## Run it

The controller is not in here: the residual corrects {base}, and you pass what that proposes.

```python
import residual_rl

policy = residual_rl.pull({json.dumps(place)}, "bundle")  # only data is fetched, and checked
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


def _row(side: Side) -> str:
    low, high = side.interval
    return f"{side.success_rate:.3f} | {low:.3f} to {high:.3f} | {in_digits(side.mean_return)}"


def _code(text: str) -> str:
    """Return a name in a code span, out of which nothing in it can break."""
    return "`" + "".join(" " if character in "`|\r\n" else character for character in text) + "`"
