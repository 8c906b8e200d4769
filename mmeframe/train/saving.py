"""Write sub-models as MLflow does, without inference: signature, requirements and trusted types are said."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from mmeframe.errors import ConfigError, listed
from mmeframe.fleet.environment import distributions_of
from mmeframe.sections import TrainSpec
from mmeframe.train.rows import Rows

__all__ = ["Writer", "check_serialization", "requirements_of", "signature_of"]

# Packages whose types this process has made itself when it trains.
_OURS = ("sklearn", "numpy", "builtins", "functools", "scipy")


@dataclass
class Writer:
    """Writes sub-models as MLflow does. ``trusted``: the types of the last one, nearly always those of the next."""

    settings: TrainSpec
    signature: Any
    requirements: list[str]
    trusted: list[str] = field(default_factory=list)

    def write(self, model: Any, path: str, described: Any) -> None:
        """Save with exactly the types that the model needs; only a model unlike the last one is serialised twice."""
        if self.settings.serialization != "skops":
            self._save(model, path, described, None)
        elif not self._written_like_the_last(model, path, described):
            import skops.io

            shutil.rmtree(path, ignore_errors=True)
            self.trusted = _trusted(data=skops.io.dumps(model))
            self._save(model, path, described, self.trusted)

    def _written_like_the_last(self, model: Any, path: str, described: Any) -> bool:
        """Whether MLflow could load the file with the last one's types, and the file needs all of them."""
        from mlflow.exceptions import MlflowException

        try:
            self._save(model, path, described, self.trusted)
        except MlflowException:
            return False
        return _trusted(file=Path(path) / described.flavors["sklearn"]["pickled_model"]) == self.trusted

    def _save(self, model: Any, path: str, described: Any, trusted: list[str] | None) -> None:
        import mlflow.sklearn

        with _quiet():
            mlflow.sklearn.save_model(
                model,
                path,
                mlflow_model=described,
                serialization_format=self.settings.serialization,
                signature=self.signature,
                pip_requirements=self.requirements,
                skops_trusted_types=trusted,
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow warns about pickles and hints at types; the config has chosen both."""
    logger = logging.getLogger("mlflow.sklearn")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _trusted(**dump: Any) -> list[str]:
    """Types that skops does not know and that this process has just made itself: only of scikit-learn and numpy.

    dump: ``data`` or ``file``, as skops takes them. Raises ConfigError for types of others.
    """
    import skops.io

    unknown: list[str] = skops.io.get_untrusted_types(**dump)
    if others := [name for name in unknown if name.split(".")[0] not in _OURS]:
        what = f"a skops file that loads everywhere cannot hold these types: {listed(others)}."
        hint = "Set train.serialization=cloudpickle, for sub-models whose files can run code."
        raise ConfigError(what, where="train.serialization", hint=hint)
    return unknown


def check_serialization(estimator: Any, settings: TrainSpec) -> None:
    """Refuse an estimator that could not be written, or not be read again. Raises ConfigError."""
    import pickle

    try:
        if settings.serialization != "skops":
            pickle.dumps(estimator)
            return
        import skops.io

        data = skops.io.dumps(estimator)
    except Exception as error:
        what = f"{settings.estimator.class_} cannot be written: {type(error).__name__}."
        hint = "Choose another estimator, or another serialization."
        raise ConfigError(what, where="train.serialization", hint=hint) from error
    _trusted(data=data)


def signature_of(rows: Rows) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    inputs: list[Any] = [ColSpec(column.type, column.name) for column in rows.columns]
    return ModelSignature(Schema(inputs), Schema([ColSpec(rows.answer, "prediction")]))


def requirements_of(settings: TrainSpec) -> list[str]:
    """What a sub-model needs, said and not inferred: MLflow would start a process per model to find out.

    Raises ConfigError for an estimator of a package that cannot be required.
    """
    package = settings.estimator.class_.split(".")[0]
    names = ["mlflow", "scikit-learn", "pandas", "numpy", distributions_of([package]).get(package, package)]
    names += [settings.serialization] if settings.serialization in ("skops", "cloudpickle") else []
    try:
        return [f"{name}=={metadata.version(name)}" for name in dict.fromkeys(names)]
    except metadata.PackageNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed as a distribution, so a router could not require it.",
            where="train.estimator.class",
            hint="Give it a pyproject.toml and install it: pip install -e <its folder>.",
        ) from None
