"""Format benchmark results as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from residual_rl.benchmarks.conditions import INSTALL_PEERS


def table(result: Mapping[str, Any]) -> str:
    """Format the result of a benchmark as a table."""
    return "\n".join({"physics": _physics, "learning": _learning, "foreign": _foreign}[result["benchmark"]](result))


def _physics(result: Mapping[str, Any]) -> list[str]:
    if "cpu_steps_per_second" in result:
        return _without_mujoco(result)
    rows = [["envs", "ours", "MuJoCo alone", "of it", "peer", "ratio"]]
    for row in [*result["batches"], dict(result) | {"batch": "all"}]:
        ours, raw, peer = (_whole(row.get(f"{name}_steps_per_second")) for name in ("ours", "raw", "peer"))
        rows.append([str(row["batch"]), ours, raw, f"{row['ratio_to_raw']:.2f}", peer, _times(row["ratio"])])
    title = f"Env steps per second of {result['task']}, {result['threads']} threads"
    return [title, *_aligned(rows), *_notes(result)]


def _without_mujoco(result: Mapping[str, Any]) -> list[str]:
    rows = [["envs", "steps/s", "of processor time"]]
    rows += [
        [str(row["batch"]), *(_whole(row[f"{name}_steps_per_second"]) for name in ("ours", "cpu"))] for row in result["batches"]
    ]
    title = f"Env steps per second of {result['task']}, {result['threads']} threads, driven by its controller"
    return [title, *_aligned(rows), *_notes(result)]


def _learning(result: Mapping[str, Any]) -> list[str]:
    rows = [
        ["training", "steps/s", "ratio"],
        ["ours, silver2018", _whole(result["ours_steps_per_second"]), _times(result["ratio"])],
        ["ours, default", _whole(result["default_preset_steps_per_second"]), ""],
        ["peer", _whole(result.get("peer_steps_per_second")), ""],
        ["SBX", _whole(result.get("sbx_steps_per_second")), _times(result.get("ratio_to_sbx"))],
    ]
    return [
        f"Env steps per second of a whole training, {result['envs']} envs, one update for every 10 steps",
        *_aligned(rows),
        *_notes(result),
        f"Updates: {result['updates_per_second']:.0f} a second in the training,"
        f" {result['updates_ratio_to_bare']:.2f} of the bare scan.",
        f"Compiling took {result['compile_seconds']:.1f} s, once.",
        f"A run with {result['transitions']:,} transitions used at most {result['peak_memory_gb']:.2f} GB;"
        f" its checkpoint of {result['checkpoint_gb']:.2f} GB took {result['checkpoint_seconds']:.1f} s.",
    ]


def _foreign(result: Mapping[str, Any]) -> list[str]:
    rows = [["environment", "envs", "Gymnasium", "library", "overhead", "networks"]]
    for row in result["rows"]:
        name = row["env"] + (", in processes" if row["processes"] else "")
        taken = [f"{row[f'{what}_microseconds']:.1f}" for what in ("alone", "collected", "residual")]
        rows.append([name, str(row["envs"]), *taken[:2], f"{row['added']:+.0%}", taken[2]])
    title = "Microseconds of an environment step: in Gymnasium's vector environment alone, and through the library"
    return [title, *_aligned(rows), *_load(result)]


def _notes(result: Mapping[str, Any]) -> list[str]:
    """Name the peer, and warn if the machine had too much other load."""
    without = f"not installed; {INSTALL_PEERS}" if result["missing"] else "none of this kind"
    return [f"Peer: {result['peer'] or without}", *_load(result)]


def _load(result: Mapping[str, Any]) -> list[str]:
    load = result["load_average"]
    if load is None or load < result["machine"]["cores"] / 2:
        return []
    # PyTorch's threads wait for one another many times in an update, so a busy core costs PyTorch far more than us.
    return [
        f"The load was {load:.1f} before the benchmark started, so the numbers are not those of a free machine. Measure again."
    ]


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first one left, the others right."""
    first, *others = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(["", name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, others, strict=True))])
        for name, *cells in rows
    ]
