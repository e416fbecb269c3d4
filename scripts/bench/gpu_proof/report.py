"""The table of what was found, whole or cut off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpu_proof.rows import BANDWIDTH, FLOPS, MFU, RATE, RELEASED, Row


@dataclass(frozen=True)
class Aim:
    """What a card should reach.

    Attributes:
        least: the figure's.
        reached: the best figure among the rows, if there is one.
    """

    what: str
    least: float
    reached: Callable[[dict], float | None]


def rows_of(found: dict, *names: str) -> list[Row]:
    """The rows of these steps that have figures."""
    steps = found["steps"]
    return [row for name in names if name in steps for row in steps[name]["rows"] if "fault" not in row]


def _best(found: dict, figure: str, names: tuple[str, ...], **fields) -> float | None:
    rows = [row for row in rows_of(found, *names) if all(row.get(key) == value for key, value in fields.items())]
    return max((row[figure] for row in rows if figure in row), default=None)


def _times_the_loop(found: dict) -> float | None:
    ours = _best(found, RATE, ("decoding", "compiled"), rows=32)
    theirs = _best(found, RATE, ("decoding",), what=RELEASED)
    return ours / theirs if ours and theirs else None


AIMS = (
    Aim(
        "decoding at batch 1, share of the measured copy bandwidth", 0.70,
        lambda found: _best(found, BANDWIDTH, ("decoding", "compiled"), rows=1, drafts=False),
    ),
    Aim("batch 32 from stored features, times the released loop", 20, _times_the_loop),
    Aim("training with packing, MFU", 0.45, lambda found: _best(found, MFU, ("lora",), packed=True)),
    Aim("encoding, share of the FLOP limit", 0.50, lambda found: _best(found, FLOPS, ("encoding",))),
)  # fmt: skip


def markdown(found: dict) -> str:
    """Notes, aims, and a table for each step that has begun."""
    parts = ["# GPU proof", *found["notes"], _aims(found)]
    for name, step in found["steps"].items():
        seconds = f", {step['seconds']} s" if "seconds" in step else ""
        parts.append(f"## {step['title']} (`{name}`: {step['state']}{seconds})")
        if step["rows"]:
            parts.append(_table(step["rows"]))
    return "\n\n".join(parts) + "\n"


def _aims(found: dict) -> str:
    lines = ["| aim | at least | reached | |", "| --- | ---: | ---: | --- |"]
    for aim in AIMS:
        reached = aim.reached(found)
        verdict = "not measured" if reached is None else "yes" if reached >= aim.least else "no"
        lines.append(f"| {aim.what} | {aim.least:g} | {_cell(reached)} | {verdict} |")
    return "\n".join(lines)


def _table(rows: list[Row]) -> str:
    """Figures by column; a measurement that failed tells why in the last one."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    columns = [*(name for name in columns if name != "fault"), *(["fault"] if "fault" in columns else [])]
    lines = ["| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]
    shown = [{**row, "right": "yes" if row["right"] else "NO"} if "right" in row else row for row in rows]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in columns) + " |" for row in shown]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "/")
