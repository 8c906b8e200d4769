"""Pieces of what several commands print: keys, counts, columns, the way of traffic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmeframe.output import note, say, table

if TYPE_CHECKING:
    from mmeframe.bundle.format import SubModelFacts
    from mmeframe.sections import TrafficSpec

__all__ = ["counts", "few", "key_text", "levels_text", "of_model", "show_columns", "show_traffic", "warn"]


def key_text(key: Mapping[str, str | None] | None) -> str:
    """A routing key in one line."""
    if key is None:
        return "(none)"
    shown = {part: "(missing)" if value is None else value for part, value in key.items()}
    return ", ".join(f"{part}={value}" for part, value in shown.items()) or "(all)"


def levels_text(levels: Iterable[Sequence[str]]) -> str:
    return " then ".join("+".join(level) or "global" for level in levels)


def counts(reasons: Mapping[str, int]) -> str:
    """How many rows have each reason, in one line."""
    return ", ".join(f"{reason} {rows:,}" for reason, rows in reasons.items())


def few(names: Sequence[str], separator: str = ", ") -> str:
    """The first ten, and how many more there are."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"{separator.join(names[:10])}{more}"


def of_model(model: SubModelFacts, loader: str) -> list[Any]:
    """The columns of a sub-model: its key, where its files are or whose answers it combines. loader: its kind."""
    files = f"of {', '.join(model.of)}" if model.of else model.uri
    return [model.id, key_text(model.declared_key), model.arm, files, model.flavor, loader]


def show_columns(columns: Iterable[tuple[str, str, bool]], routing: Mapping[str, str]) -> None:
    """What a request has: the columns of the sub-models, and those that routing reads."""
    rows = [[name, type_, "yes" if needed else "no", routing.get(name)] for name, type_, needed in columns]
    known = {row[0] for row in rows}
    rows += [[name, None, None, part] for name, part in routing.items() if name not in known]
    table("columns", ["name", "type of the sub-models", "required", "read to route by"], rows)


def show_traffic(traffic: TrafficSpec, disabled: Sequence[str]) -> None:
    """Shares of arms, shadows, and sub-models that get no rows."""
    for arm, share in traffic.arms.items():
        keys = traffic.only.get(arm)
        say(f"arm {arm}: {share:.2%} of the rows" + (f" of {'; '.join(map(key_text, keys))}" if keys else ""))
    for arm in traffic.shadow:
        say(f"arm {arm}: scored in the background for observers")
    if disabled:
        say(f"disabled: {', '.join(disabled)}")


def warn(lines: Iterable[str]) -> None:
    for line in lines:
        note(f"warning: {line}")
