"""Which sub-models may be made live at all; asked before anything of them is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

from mmeframe.errors import Report, count, known_names
from mmeframe.fleet.live import LiveModels
from mmeframe.fleet.submodel import PinnedModel
from mmeframe.plugin.components import holds_pickles, make_component, runs_code
from mmeframe.sections import RouterSpec
from mmeframe.versions import HERE, minor, other_libraries, other_pythons, pickled_by

__all__ = ["Loadable"]


@dataclass(frozen=True)
class Loadable:
    """Reports the others."""

    spec: RouterSpec
    report: Report
    live: LiveModels

    def of_this_python(self, models: Sequence[PinnedModel]) -> list[PinnedModel]:
        """The sub-models without pickles of another Python, unless those are wanted; and which may crash a process.

        Called before anything of a sub-model is loaded: a pickle of another Python may end this one without a word.
        """
        # Thousands have the same requirements. Which MLflow logged a pickle does not matter to it.
        others = cache(lambda lines: other_libraries(line for line in lines if not line.startswith("mlflow")))
        suspects = [it for it in models if it.python and (minor(it.python) != HERE or others(it.requirements))]
        with ThreadPoolExecutor(8) as pool:
            pickled = dict(zip([it.id for it in suspects], pool.map(self._holds_pickles, suspects), strict=True))
        self.live.risky = {id_ for id_, pickles in pickled.items() if pickles}
        refused: set[str] = set()
        for python, ids in other_pythons({it.id: minor(it.python) for it in suspects}).items():
            risky = [id_ for id_ in ids if pickled[id_]]
            harmless = len(ids) - len(risky)
            if harmless:
                self.report.warnings.append(
                    f"environment: {count(harmless, 'sub-model')} without pickles came from Python {python}."
                )
            if risky and self.spec.environment.python == "warn":
                self.report.warnings.append(f"environment.python: {pickled_by(python, risky)}.")
            elif risky:
                refused |= {*risky}
                hint = (
                    "Such a pickle may fail, or crash the process. Log them with this Python, or in a format that "
                    'holds no code (serialization_format="skops"); or build with that Python. '
                    "environment.python=warn accepts them."
                )
                self.report.add("environment.python", f"{pickled_by(python, risky)}.", hint, "fleet")
        return [model for model in models if model.id not in refused]

    def _holds_pickles(self, model: PinnedModel) -> bool:
        names = self._names(model)
        return names is not None and holds_pickles(model.loader, names, model.options)

    def without_code(self, models: Sequence[PinnedModel]) -> list[PinnedModel]:
        """The sub-models that can be made live without running code of their files; the others are reported.

        Called before anything of a sub-model is loaded, so that nothing of those runs here either.
        """
        with ThreadPoolExecutor(8) as pool:
            run = dict(zip([model.id for model in models], pool.map(self._runs_code, models), strict=True))
        refused = [id_ for id_, runs in run.items() if runs]
        if refused:
            self.report.add(
                "bundle.allow_pickle",
                "there are sub-models whose files can run code: pickles, python models, or modules of their own.",
                f"{known_names(refused, 'They are')} Log them without code_paths and with "
                'serialization_format="skops", or in a format of their library that holds no code (XGBoost, CatBoost, '
                "a LightGBM booster); or set bundle.allow_pickle=true if you trust whoever logged them.",
                "fleet",
            )
        return [model for model in models if model.id not in refused]

    def _runs_code(self, model: PinnedModel) -> bool:
        names = self._names(model)
        return names is not None and runs_code(make_component(model.loader), names, model.options)

    def _names(self, model: PinnedModel) -> list[str] | None:
        """The files of a sub-model, None, with a problem, if they cannot be listed."""
        try:
            return model.folder.names()
        except Exception as error:  # noqa: BLE001 - a store fails in its own ways
            self.report.add(f"models.{model.id}", f"its files cannot be listed: {error}", "", "missing")
            return None
