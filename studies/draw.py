"""Draws a study's figure from its committed CSV alone, into `docs/figures/`.

python studies/draw.py slippery_push
"""

import csv
import sys
from pathlib import Path

from residual_rl.figures import learning_curve


def main() -> None:
    """Draws the study named on the command line."""
    study = sys.argv[1]
    with (Path(__file__).parent / study / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    out = Path(__file__).parent.parent / "docs" / "figures" / f"{study.replace('_', '-')}.svg"
    out.parent.mkdir(parents=True, exist_ok=True)
    learning_curve(rows, width=9.5).savefig(out, metadata={"Date": None})
    print(out)


if __name__ == "__main__":
    main()
