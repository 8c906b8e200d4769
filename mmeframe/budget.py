"""The bounds of what may be in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from mmeframe.errors import ConfigError, count, suggest

if TYPE_CHECKING:
    from mmeframe.sections import ResidencySpec

__all__ = ["KEPT", "check_bounds", "check_residency", "chosen", "size_text"]

# Bytes that a sub-model in memory takes besides itself: its entries in the residency manager's tables.
KEPT = 640


def size_text(count: int) -> str:
    """Bytes for people: ``4.2 MiB``."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def chosen(
    names: Sequence[str], where: str, ids: Callable[[], Sequence[str]], position: Callable[[str], int | None]
) -> list[int]:
    """Numbers of the sub-models that ``names`` name: ids, or patterns with ``*``, ``?`` or ``[...]``.

    position: the number of an id, None if there is no such id. Raises ConfigError for a name of nothing.
    """
    found: dict[int, None] = {}
    for name in names:
        number = position(name)
        numbers = [number] if number is not None else []
        if number is None and set(name) & set("*?["):
            numbers = [number for number, id_ in enumerate(ids()) if fnmatchcase(id_, name)]
        if not numbers:
            raise ConfigError(f"there is no sub-model {name!r}.", where=where, hint=suggest(name, ids()))
        found |= dict.fromkeys(numbers)
    return list(found)


def check_residency(
    spec: ResidencySpec, ids: Sequence[str], combined: Collection[str], size: Callable[[int], int]
) -> None:
    """Raise ConfigError for pins and preloads that name nothing, and for bounds as ``check_bounds`` does.

    ids: of all sub-models; combined: of those that have no files of their own. size: bytes of the one with a number.
    """
    numbers = [number for number, id_ in enumerate(ids) if id_ not in combined]
    position = {id_: number for number, id_ in enumerate(ids)}.get
    pinned = chosen(spec.pin, "residency.pin", lambda: ids, position)
    preload = chosen(spec.preload, "residency.preload", lambda: ids, position)
    own = set(numbers)
    first = (own, ()) if spec.kind == "eager" else (own.intersection(pinned), own.intersection(preload))
    check_bounds(spec, numbers, size, ids.__getitem__, *first)


def check_bounds(
    spec: ResidencySpec,
    numbers: Sequence[int],
    size: Callable[[int], int],
    name: Callable[[int], str],
    pinned: Collection[int],
    preload: Collection[int],
) -> None:
    """Raise ConfigError for bounds that what must be in memory exceeds, or that another sub-model never fits into.

    numbers: of the sub-models that have files. size, name: of one of them.
    """
    most, limit = spec.max_models, spec.max_bytes
    first = {*pinned, *preload}
    others = [number for number in numbers if number not in pinned]
    if most is not None and (len(first) > most or (others and len(pinned) >= most)):
        beside = " and others need room beside them" if len(first) <= most else ""
        are = "is" if len(first) == 1 else "are"
        raise ConfigError(
            f"{count(len(first), 'sub-model')} {are} pinned or preloaded{beside}, and {most} may be in memory.",
            where="residency.max_models",
            hint="Allow more, or pin and preload fewer.",
        )
    if limit is None:
        return
    needed = sum(map(size, first))
    if needed > limit:
        raise ConfigError(
            f"{count(len(first), 'sub-model')} in memory from the start would take {size_text(needed)}, more than the "
            f"{size_text(limit)} that are allowed.",
            where="residency.max_bytes",
            hint="Allow more, or choose residency=lazy." if spec.kind == "eager" else "Allow more, or pin fewer.",
        )
    kept = sum(map(size, pinned))
    largest = max(others, key=size, default=None)
    if largest is not None and kept + size(largest) > limit:
        beside = f" beside {size_text(kept)} that are pinned" if kept else ""
        raise ConfigError(
            f"sub-model {name(largest)!r} takes {size_text(size(largest))}, which never fits into "
            f"{size_text(limit)}{beside}.",
            where="residency.max_bytes",
            hint=f"Allow at least {size_text(kept + size(largest))}.",
        )
