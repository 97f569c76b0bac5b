"""Everything that residual-rl raises on purpose: each names the thing and says what would be right."""

import difflib
from collections.abc import Iterable


class ResidualRLError(Exception):
    """Anything that a user can put right. The command line prints its message without a traceback."""


class UnknownName(ResidualRLError):
    """A task, controller, method or preset that does not exist."""

    def __init__(self, kind: str, name: object, known: Iterable[str]):
        known = sorted(known)
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"there is no {kind} called {name!r}.{hint} There are: {', '.join(known)}")


class ControllerError(ResidualRLError):
    """A controller that raised, or proposed something that is no action."""

    step: int | None = None
    """Of the episode, if it failed in one."""


class WorldError(ResidualRLError):
    """An environment that keeps failing."""


class EpisodesLost(WorldError):
    """A batch of episodes of which nothing is left: no environment could be reset, or a vector environment raised."""


class RunError(ResidualRLError):
    """A run directory that cannot be used: in use, written by another configuration, damaged, or unfinished."""


class Interrupted(ResidualRLError):
    """Training was asked to stop; what was learned is on disk."""


class HubError(ResidualRLError):
    """A bundle that cannot be pushed or pulled."""
