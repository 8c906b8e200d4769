"""Prove a logged router before anybody can see it: every sub-model, by id, against its own loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmeframe.build.describe import SubModel
from mmeframe.build.examples import example_rows, same
from mmeframe.build.fleet import Fleet
from mmeframe.build.store import Progress
from mmeframe.errors import BuildError, ModelError

__all__ = ["probe"]

_SAMPLE = 1000


def probe(router: Any, fleet: Fleet, progress: Progress) -> list[str]:
    """Compare the router's answers with those of the sub-models' own files.

    router: the loaded router, which has ``score(id, frame)``. Every sub-model that is new or has changed is probed;
    above 1,000 an even sample.
    Returns warnings, naming sub-models that could not be called on the probe rows. Raises BuildError where the router
    answers differently.
    """
    from mmeframe.rows.answers import as_prediction

    answering = fleet.answering
    # What combines others has no files of its own.
    own_files = [model for model in fleet.models if not model.of and not (model.kept and model.kept.since)]
    sample = own_files[:: max(1, len(own_files) // _SAMPLE)]
    warnings = []
    for number, model in enumerate(sample):
        progress("probing", number, len(sample))
        with model.folder.local() as root:
            rows = example_rows(model, root)
            # A gate is asked to predict, whatever the others are asked.
            method = fleet.spec.output.method if model.id in answering else "predict"
            try:
                raw = fleet.live.run(_own_answer, model, root, rows, method)
            except Exception as error:  # noqa: BLE001 - probe rows may be nonsense to a model
                warnings.append(
                    f"{model.id}: its probe rows were refused ({type(error).__name__}); it was only loaded."
                )
                continue
        answer = router.score(model.id, rows)
        kind = model.outputs.columns[0].type if model.outputs.single else ""
        if not same(answer, as_prediction(raw, len(rows), model.id, kind)):
            raise BuildError(
                "the logged router answers differently from the sub-model's own files.",
                where=f"models.{model.id}",
                hint="Its predict may be random, or depend on something outside its files.",
            )
        if model.routed:
            warnings += _undeclared(router, model, answer)
    progress("probing", len(sample), len(sample))
    return warnings


def _own_answer(model: SubModel, root: Path, rows: Any, method: str) -> Any:
    return getattr(model.load(root), method)(rows.copy())


def _undeclared(router: Any, model: SubModel, answer: Any) -> list[str]:
    """Raises BuildError for an answer of another shape than the sub-model declares; what is left out is a warning."""
    try:
        router.shaped(model.id, answer)
    except ModelError as error:
        raise BuildError(error.what, where=f"models.{model.id}", hint=error.hint) from error
    declared = {column.name for column in model.outputs.columns}
    more = [str(name) for name in getattr(answer, "columns", ()) if name not in declared]
    if not more or len(declared) == 1:
        return []
    return [f"{model.id}: its signature does not declare its answers {', '.join(more)}; they are left out."]
