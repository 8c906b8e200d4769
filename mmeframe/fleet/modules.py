"""Modules that sub-models ship: one process has one of a name."""

from __future__ import annotations

from collections.abc import Iterable

from mmeframe.errors import Report
from mmeframe.fleet.environment import distributions_of
from mmeframe.fleet.submodel import PinnedModel

__all__ = ["code_clashes", "shadowing"]


def code_clashes(models: Iterable[PinnedModel], report: Report) -> None:
    """One process has one module of a name: the second model would silently run the first one's code."""
    owner: dict[str, tuple[str, str]] = {}
    # A package hides the parts of a namespace package of its name, whose modules have its name before theirs.
    spread: dict[str, str] = {}
    for model in models:
        for module, digest in model.code.items():
            rival, known = owner.setdefault(module, (model.id, digest))
            if known != digest:
                _clash(report, model.id, rival, module, "differs from the one")
            parents = [module[:at] for at, letter in enumerate(module) if letter == "."]
            for parent in parents:
                spread.setdefault(parent, model.id)
            for hidden in [it for it in parents if it in owner and owner[it][0] != model.id]:
                _clash(report, model.id, owner[hidden][0], module, f"is hidden by the package {hidden!r}")
            if module in spread and spread[module] != model.id:
                _clash(report, model.id, spread[module], module, "hides the namespace package")


def _clash(report: Report, model_id: str, rival: str, module: str, how: str) -> None:
    report.add(
        f"models.{model_id}",
        f"it ships a module {module!r} that {how} of {rival!r}.",
        "One process can import only one of them. Rename one module, log both with the same code, or set "
        "isolation=process.",
        "fleet",
    )


def shadowing(models: Iterable[PinnedModel], report: Report) -> None:
    """Which of a shipped and an installed module is imported depends on who comes first, for everybody."""
    owner = {module.split(".")[0]: model.id for model in models for module in model.code}
    installed = distributions_of(owner)
    for module, id_ in sorted(owner.items()):
        if module in installed:
            report.warnings.append(
                f"models.{id_}: it ships a module {module!r}, which {installed[module]} has too; it does not "
                "load in a process that has imported the other one. isolation=process avoids that."
            )
