"""Races every hand-written driver alone on every track, before anything is learned over it.

    python studies/racing.py [--starts 50]

Writes `studies/racing/drivers.csv`, a row for each driver and track, and from it alone `studies/racing/README.md`. Drivers
that are there with as many starts are kept: a stopped study goes on.
"""

import argparse
import csv
import itertools
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
WITH_MAP = ("pure-pursuit", "racing-line")
SHOWN = ("is_success", "race_time", "lap_times", "collision", "track")
COLUMNS: tuple[str, ...] = (
    "driver",
    "set",
    "track",
    "lap_m",
    "starts",
    "finished",
    "collisions",
    "race_time_s",
    "low_s",
    "high_s",
    "best_lap_s",
)
PREFACE = """# Drivers before learning

Two laps from a standing start, {starts} starts a track, each driver alone. Mean race times in s of the races that
were finished; in brackets how many of the {starts} ended in a collision, where any did. Made by `python studies/racing.py`
from `drivers.csv`.

"""


def seeds_for(count: int, starts: int) -> list[int]:
    """The first seeds that draw each of so many tracks `starts` times: a world's first draw is that of the track."""
    drawn: list[list[int]] = [[] for _ in range(count)]
    for seed in itertools.count():
        drawn[np.random.default_rng(seed).integers(count)].append(seed)
        if min(map(len, drawn)) >= starts:
            return [seed for seeds in drawn for seed in seeds[:starts]]
    raise AssertionError


def raced(driver: str, on: tuple[Track, ...], starts: int) -> list[dict[str, Any]]:
    """One driver on some tracks: what the rows say of it."""
    controller = make_controller(driver, SPEC)
    task = on_tracks("all", on)
    mode, lanes = AutoresetMode.DISABLED, starts * len(on)
    with closing(task.make_envs(lanes, num_threads=1, autoreset_mode=mode, with_state=driver in WITH_MAP)) as envs:
        observation, _ = envs.reset(seed=seeds_for(len(on), starts))
        while True:
            observation, _, terminated, truncated, info = envs.step(controller(observation))
            if (terminated | truncated).all():
                break
    return [_row(track, {name: info[name][info["track"] == number] for name in SHOWN}) for number, track in enumerate(on)]


def _row(track: Track, info: dict[str, np.ndarray]) -> dict[str, Any]:
    finished = info["is_success"]
    times, laps = info["race_time"][finished], np.diff(info["lap_times"][finished], axis=1)
    return {
        "track": track.name,
        "lap_m": round(track.length, 2),
        "starts": len(finished),
        "finished": int(finished.sum()),
        "collisions": int(info["collision"].sum()),
        "race_time_s": round(float(times.mean()), 3) if len(times) else "",
        "low_s": round(float(times.min()), 3) if len(times) else "",
        "high_s": round(float(times.max()), 3) if len(times) else "",
        "best_lap_s": round(float(laps.min()), 3) if len(times) else "",
    }


def read() -> list[dict[str, Any]]:
    """What has been raced."""
    if not (FOLDER / "drivers.csv").exists():
        return []
    with (FOLDER / "drivers.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write(rows: list[dict[str, Any]]) -> None:
    """The CSV."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "drivers.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def tabulate(rows: list[dict[str, Any]]) -> None:
    """The table made of the CSV."""
    lines = [
        PREFACE.format(starts=rows[0]["starts"]),
        f"| set | track | lap, m | {' | '.join(DRIVERS)} |\n",
        "|---" * 7 + "|\n",
    ]
    cells = {(row["track"], row["driver"]): row for row in rows}
    for name, seeds in SETS.items():
        for track in seeds:
            of_track = [cells[track, driver] for driver in DRIVERS]
            shown = [row["race_time_s"] + (f" ({row['collisions']})" if row["collisions"] != "0" else "") for row in of_track]
            lines.append(f"| {name} | {track} | {of_track[0]['lap_m']} | {' | '.join(shown)} |\n")
        of_set = [[cells[track, driver] for track in seeds] for driver in DRIVERS]
        means = [f"{np.mean([float(row['race_time_s']) for row in mine if row['race_time_s']]):.2f}" for mine in of_set]
        lines.append(f"| **{name}** | mean | | {' | '.join(f'**{mean}**' for mean in means)} |\n")
    (FOLDER / "README.md").write_text("".join(lines))


def main() -> None:
    """Races all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=50)
    starts = parser.parse_args().starts
    on = tuple(track for seeds in SETS.values() for track in tracks.tracks_of(seeds))
    sets = {track: name for name, seeds in SETS.items() for track in seeds}
    rows = [row for row in read() if row["driver"] in DRIVERS and int(row["starts"]) == starts]
    for driver in DRIVERS:
        if any(row["driver"] == driver for row in rows):
            continue
        of_driver = [{"driver": driver, "set": sets[row["track"]], **row} for row in raced(driver, on, starts)]
        rows += of_driver
        write(rows)
    tabulate(read())


if __name__ == "__main__":
    main()
