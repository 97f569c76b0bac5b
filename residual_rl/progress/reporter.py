"""Print the plan, the progress and the verdict of a run. Python and the command line share this code.

A terminal or a notebook shows a progress bar; elsewhere, for example in a log file, there is a line for each evaluation.
"""

from collections.abc import Callable
from importlib.util import find_spec
from types import TracebackType
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from residual_rl.progress.plan import Plan, duration
from residual_rl.progress.terminal import Terminal
from residual_rl.types import Measure
from residual_rl.verdict import in_digits_apart


class Progress(NamedTuple):
    """How far a run is."""

    step: int
    steps: int
    measured_by: Measure
    base: float
    """The base's success rate, mean return, or minus its mean time, as the task is measured."""
    policy: float
    """The same of the policy, in the latest evaluation."""
    evaluated: bool = False
    """Whether the policy has just been evaluated."""
    steps_per_second: float | None = None
    """Of training, without evaluations; None while the first cycles compile."""
    seconds_left: float | None = None
    """Estimate until the verdict; None while there is none."""

    @property
    def scores(self) -> str:
        """The scores of base and policy."""
        if self.measured_by == "return":
            base, policy = in_digits_apart((self.base, self.policy))
            return f"return: base {base}, policy {policy}"
        if self.measured_by == "time":
            base, policy = in_digits_apart((-self.base, -self.policy))
            return f"time: base {base}, policy {policy}"
        return f"success: base {self.base:.2f}, policy {self.policy:.2f}"

    def __str__(self) -> str:
        speed = [] if self.steps_per_second is None else [f"{self.steps_per_second:,.0f} steps/s"]
        left = [] if self.seconds_left is None else [f"{duration(self.seconds_left)} left"]
        return ", ".join([f"step {self.step:,} of {self.steps:,}", *speed, *left, self.scores])


Tell = Callable[[str], None] | None
"""`print` for a bar and lines, `None` for silence, or any function of a line."""


class Reporter:
    """Print nothing. A context manager, as all reporters are."""

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        pass

    def line(self, text: str) -> None:
        """Print a line."""

    def plan(self, plan: Plan) -> None:
        """Print the cost of the run."""
        self.line(str(plan))

    def progress(self, progress: Progress) -> None:
        """Print the progress of the run."""

    def verdict(self, text: str) -> None:
        """Print the verdict."""
        self.line(text)


class Lines(Reporter):
    """Give each line to a function: the plan, a line at each evaluation, the verdict."""

    def __init__(self, tell: Callable[[str], None], tell_verdict: Callable[[str], None] | None = None):
        self._tell = tell
        self._tell_verdict = tell_verdict or tell
        self._timed = False

    def line(self, text: str) -> None:
        """Print a line."""
        self._tell(text)

    def progress(self, progress: Progress) -> None:
        """Print the progress if the policy has just been evaluated, and once the estimated duration."""
        if progress.evaluated:
            self._tell(str(progress))
        if progress.seconds_left is not None and not self._timed:
            if not progress.evaluated:
                self._tell(f"estimated time: {duration(progress.seconds_left)} to the verdict")
            self._timed = True

    def verdict(self, text: str) -> None:
        """Print the verdict."""
        self._tell_verdict(text)


class Shown(Lines):
    """Show a progress bar on a terminal or in a notebook, and print the other lines above it."""

    def __init__(self, terminal: Terminal):
        super().__init__(terminal, terminal.result)
        columns = ("{task.completed:,.0f} of {task.total:,.0f} steps", "{task.fields[pace]}", "{task.fields[scores]}")
        self._bar = Bar(BarColumn(bar_width=16), *map(TextColumn, columns), console=terminal.lines)
        self._shown: TaskID | None = None

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop()

    def progress(self, progress: Progress) -> None:
        """Move the bar."""
        if self._shown is None:
            self._shown = self._bar.add_task("", total=progress.steps, pace="", scores="")
            self._bar.start()
        pace = "compiling" if progress.steps_per_second is None else f"{progress.steps_per_second:,.0f} steps/s"
        if progress.seconds_left is not None:
            pace += f", {duration(progress.seconds_left)} left"
        self._bar.update(self._shown, completed=progress.step, total=progress.steps, pace=pace, scores=progress.scores)

    def verdict(self, text: str) -> None:
        """Print the verdict below the bar."""
        self._stop()
        super().verdict(text)

    def _stop(self) -> None:
        if self._bar.live.is_started:
            self._bar.stop()


def reporter_of(tell: Tell) -> Reporter:
    """Return the reporter for `tell`: silent for None, a bar or lines for `print` and a `Terminal`, else lines."""
    if tell is None:
        return Reporter()
    terminal = Terminal(console := Console(), console) if tell is print else tell
    if not isinstance(terminal, Terminal):
        return Lines(tell)
    if _draws(terminal.lines):
        return Shown(terminal)
    return Lines(tell, terminal.result)


def _draws(console: Console) -> bool:
    """Return whether a console can show a moving bar."""
    if console.is_jupyter:
        return find_spec("ipywidgets") is not None
    return console.is_terminal and not console.is_dumb_terminal
