"""Everything that residual-rl raises on purpose: each names the thing and says what would be right."""

import difflib
from collections.abc import Iterable


class ResidualRLError(Exception):
    """Anything that a user can put right. The command line prints its message without a traceback."""


class UnknownName(ResidualRLError):
    """A task, controller, method or preset that does not exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = sorted(known)
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"there is no {kind} called {name!r}.{hint} There are: {', '.join(known)}")


class ControllerError(ResidualRLError):
    """A controller that raised, or proposed something that is no action."""


class WorldError(ResidualRLError):
    """An environment that keeps failing."""


class NoSoundLane(WorldError):
    """Environments of which none could be reset."""


class RunError(ResidualRLError):
    """A run directory that cannot be used: in use, written by another configuration, damaged, or unfinished."""


class Interrupted(ResidualRLError):
    """Training was asked to stop; what was learned is on disk."""


class HubError(ResidualRLError):
    """A bundle that cannot be pushed or pulled."""
