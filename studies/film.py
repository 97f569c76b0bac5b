"""Draws the README's film strip from a finished run, into `docs/figures/film.png`.

python studies/film.py runs/studies/slippery-push/slippery-push/default/seed-0/run
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from residual_rl.pictures.film import film_strips
from residual_rl.pictures.video import png


def main() -> None:
    """The first start that the base fails from and the policy solves: base above, policy below."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="its directory")
    strips, reason = film_strips(parser.parse_args().run)
    fixed = [strip for strip in strips if strip.kind == "fixed"]
    if not fixed:
        sys.exit(f"no film strip: {reason or 'the run fixed no failure'}")
    rows = [np.concatenate(list(row.frames), axis=1) for row in fixed[0].rows]
    out = Path(__file__).parent.parent / "docs" / "figures" / "film.png"
    out.write_bytes(png(np.concatenate(rows)[::2, ::2]))
    print(out)


if __name__ == "__main__":
    main()
