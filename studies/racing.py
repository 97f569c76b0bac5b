"""Races every hand-written driver alone on every track, before anything is learned over it.

    python studies/racing.py [--starts 50]

Writes `studies/racing/drivers.csv`, a row for each driver and track, and from it alone `studies/racing/README.md`.
"""

import argparse
import csv
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from residual_rl.controllers import make_controller
from residual_rl.tasks.racing import tracks
from residual_rl.tasks.racing.task import on_tracks
from residual_rl.tasks.racing.track import Track
from residual_rl.tasks.racing.world import SPEC

FOLDER = Path(__file__).parent / "racing"
SETS = {"train": tracks.TRAINING, "validation": tracks.VALIDATION, "test": tracks.TEST}
DRIVERS = ("pure-pursuit", "racing-line", "follow-the-gap", "potential-field")
COLUMNS = ("driver", "set", "track", "lap_m", "starts", "finished", "collisions", "race_time_s", "low_s", "high_s", "best_lap_s")
PREFACE = """# Drivers before learning

Two laps from a standing start, {starts} starts a track, each driver alone. Mean race times in s of the races that were finished;
in brackets how many of the {starts} ended in a collision, where any did. Made by `python studies/racing.py` from `drivers.csv`.

"""


def raced(driver: str, track: Track, starts: int) -> dict[str, Any]:
    """One driver on one track: what the row says of it."""
    controller = make_controller(driver, SPEC)
    task = on_tracks(track.name, [track])
    with closing(task.make_envs(starts, autoreset_mode=AutoresetMode.DISABLED, with_state=True)) as envs:
        observation, _ = envs.reset(seed=0)
        while True:
            observation, _, terminated, truncated, info = envs.step(controller(observation))
            if (terminated | truncated).all():
                break
    finished = info["is_success"]
    times, laps = info["race_time"][finished], np.diff(info["lap_times"][finished], axis=1)
    return {
        "lap_m": round(track.length, 2),
        "starts": starts,
        "finished": int(finished.sum()),
        "collisions": int(info["collision"].sum()),
        "race_time_s": round(float(times.mean()), 3) if len(times) else "",
        "low_s": round(float(times.min()), 3) if len(times) else "",
        "high_s": round(float(times.max()), 3) if len(times) else "",
        "best_lap_s": round(float(laps.min()), 3) if len(times) else "",
    }


def write(rows: list[dict[str, Any]]) -> None:
    """The CSV, and the table made of it."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "drivers.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    lines = [PREFACE.format(starts=rows[0]["starts"]), f"| set | track | lap, m | {' | '.join(DRIVERS)} |\n", "|---" * 7 + "|\n"]
    cells = {(row["track"], row["driver"]): row for row in rows}
    for name, seeds in SETS.items():
        for track in seeds:
            of_track = [cells[track, driver] for driver in DRIVERS]
            shown = [f"{row['race_time_s']}" + (f" ({row['collisions']})" if row["collisions"] else "") for row in of_track]
            lines.append(f"| {name} | {track} | {of_track[0]['lap_m']:.1f} | {' | '.join(shown)} |\n")
        of_set = [[cells[track, driver] for track in seeds] for driver in DRIVERS]
        means = [f"{np.mean([row['race_time_s'] for row in mine if row['finished']]):.2f}" for mine in of_set]
        lines.append(f"| **{name}** | mean | | {' | '.join(f'**{mean}**' for mean in means)} |\n")
    (FOLDER / "README.md").write_text("".join(lines))


def main() -> None:
    """Races all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=50)
    starts = parser.parse_args().starts
    rows = []
    for driver in DRIVERS:
        for name, seeds in SETS.items():
            for track in tracks.tracks_of(seeds):
                rows.append({"driver": driver, "set": name, "track": track.name, **raced(driver, track, starts)})
                print(*rows[-1].values(), flush=True)
    write(rows)


if __name__ == "__main__":
    main()
