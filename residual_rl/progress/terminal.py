"""Two output streams, for programs that separate their result from everything else."""

from rich.console import Console
from rich.text import Text


class Terminal:
    """A function that prints a line; it also knows the streams of a progress bar and of the result."""

    def __init__(self, lines: Console, results: Console):
        self.lines = lines
        self.results = results

    def __call__(self, line: str) -> None:
        """Print a line beside the result."""
        self.lines.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)

    def result(self, line: str) -> None:
        """Print a line of the result."""
        self.results.print(Text(line, style="bold"), highlight=False, soft_wrap=True)
