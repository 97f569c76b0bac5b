"""Packages that only a part of the library needs: imported where they are used, and named where they are missing."""

import importlib
from typing import Any

from residual_rl.errors import ResidualRLError

DISTRIBUTIONS = {
    "PIL": "Pillow",
    "av": "PyAV",
    "gymnasium_robotics": "gymnasium-robotics",
    "sbx": "sbx-rl",
    "stable_baselines3": "stable-baselines3",
}
"""What a package is called where it is installed from, if not as it is imported."""
REPORTS = "report", "reports and figures"
"""Extra and purpose of what draws."""
WORLDS = "tasks", "the library's own tasks"
"""Extra and purpose of MuJoCo and of the robot models."""


def need(module: str, extra: str, purpose: str) -> Any:
    """Imports a module that comes with an extra.

    Args:
        module: its dotted name.
        extra: the extra of this library.
        purpose: what it is for, in the plural: it stands before "need" in the message.

    Raises:
        ResidualRLError: it is not installed; says what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing((error.name or module).split(".")[0], extra, purpose) from error


def missing(package: str, extra: str, purpose: str) -> ResidualRLError:
    """Return the error that says what to install, where `package`, as it is imported, is not installed."""
    return ResidualRLError(f"{purpose} need {DISTRIBUTIONS.get(package, package)}: pip install 'residual-rl[{extra}]'")
