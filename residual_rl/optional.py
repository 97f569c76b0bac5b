"""Import optional packages on use; if one is missing, name the extra that installs it."""

import importlib
from typing import Any

from residual_rl.errors import ResidualRLError

DISTRIBUTIONS = {"PIL": "Pillow", "av": "PyAV", "sbx": "sbx-rl", "stable_baselines3": "stable-baselines3"}
"""Names of packages whose distribution is not called like the import."""
REPORTS = "report", "reports and figures"
"""Extra and purpose of the drawing packages."""


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
        missing = (error.name or module).split(".")[0]
        raise ResidualRLError(
            f"{purpose} need {DISTRIBUTIONS.get(missing, missing)}: pip install 'residual-rl[{extra}]'"
        ) from error
