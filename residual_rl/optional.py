"""Import optional packages on use; if one is missing, name the extra that installs it."""

import importlib
from typing import Any

from residual_rl.errors import ResidualRLError

DISTRIBUTIONS = {
    "PIL": "Pillow",
    "av": "PyAV",
    "dm_control": "dm-control",
    "gymnasium_robotics": "gymnasium-robotics",
    "panda_gym": "panda-gym",
    "sbx": "sbx-rl",
    "simple_pid": "simple-pid",
    "stable_baselines3": "stable-baselines3",
}
"""Names of packages whose distribution is not called like the import."""
RAY = "ray", "studies on a cluster"
"""Extra and purpose of Ray."""
REPORTS = "report", "reports and figures"
"""Extra and purpose of the drawing packages."""
WORLDS = "tasks", "the library's own tasks"
"""Extra and purpose of MuJoCo and of the robot models."""


def need(module: str, extra: str, purpose: str) -> Any:
    """Import a module that belongs to an extra.

    Args:
        module: its dotted name.
        extra: the extra of this library.
        purpose: what needs it, in the plural; stands before "need" in the message.

    Raises:
        ResidualRLError: it is not installed; the message says what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing((error.name or module).split(".")[0], extra, purpose) from error


def missing(package: str, extra: str, purpose: str) -> ResidualRLError:
    """Return the error that says what to install if `package` (its import name) is not installed."""
    return ResidualRLError(f"{purpose} need {DISTRIBUTIONS.get(package, package)}: pip install 'residual-rl[{extra}]'")
