"""A user's own controller or environment by its importable name `module:name`, which a process on any machine can find."""

import re
from importlib import import_module
from typing import Any

from residual_rl.errors import ResidualRLError

IMPORTABLE = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*")


def is_importable(name: str) -> bool:
    """Return whether this is a name like `my_robot.control:push`."""
    return IMPORTABLE.fullmatch(name) is not None


def imported_or_name(name: str) -> Any:
    """Return the object called `module:name`; any other name, such as a file's or a Gymnasium id's, as it is.

    Raises:
        ResidualRLError: it cannot be imported.
    """
    return imported(name) if is_importable(name) else name


def imported(name: str) -> Any:
    """Return the object called `module:name`.

    Raises:
        ResidualRLError: there is no such module here, or it has nothing of that name.
    """
    module, _, attributes = name.partition(":")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        raise ResidualRLError(
            f"{name!r} cannot be imported: there is no module {error.name}. It must be installed, or on PYTHONPATH, wherever a "
            "trial runs"
        ) from error
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            raise ResidualRLError(f"{name!r} cannot be imported: {module} has no {attributes}")
        found = getattr(found, attribute)
    return found
