"""A logged router as the store has it: found, downloaded once, compared with its digests, and loaded.

Nothing of a router's code runs before all that its digest covers was compared.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmeframe.bundle import Bundle, artifact
from mmeframe.cache import CONTENT, cache_folder, is_whole, put, refused, seal, work_folder
from mmeframe.errors import CorruptBundleError, MissingError, MmeframeError, UsageError, nearest
from mmeframe.shipped import without_bytecode
from mmeframe.store.folders import ModelFolder
from mmeframe.store.store import ROUTER_TAG, Store, as_written, registered_name

if TYPE_CHECKING:
    from mmeframe.runtime import Router

__all__ = ["fetch", "load", "opened", "reading", "verified"]


def fetch(store: Store, uri: str) -> Path:
    """The model folder on this machine: where it lies, or a copy in the cache folder, made once.

    A copy that is not what was downloaded any more, file by file, is made anew. Raises MissingError if there is no
    model at the URI, MmeframeError if the cache folder takes no files.
    """
    import mlflow

    location = uri
    _check_scheme(uri)
    name = registered_name(uri)
    version, model_id = store.pin(uri, store.named([name]) if name else {})
    if model_id:
        location = store.locations([model_id]).get(model_id, uri)
    elif version:
        location = version.source
    if here := ModelFolder(location).here:
        if not (here / "MLmodel").is_file():
            raise MissingError(f"there is no MLflow model at {here.absolute()}.", where="--model")
        return here
    try:
        # Somebody may log another router to the same place: its description names it.
        described = ModelFolder(location).read("MLmodel")
    except Exception as error:
        raise _not_read(uri, error) from error
    if described is None:
        raise MissingError(f"there is no MLflow model at {uri}.", where="--model")
    target = cache_folder() / "routers" / hashlib.sha256(location.encode() + b"\0" + described).hexdigest()[:32]
    if not is_whole(target):
        with work_folder("routers", ".downloading-") as work:
            made, inside = work / "new", work / "new" / CONTENT
            try:
                made.mkdir()
                Path(mlflow.artifacts.download_artifacts(location, dst_path=str(work / "download"))).rename(inside)
            except Exception as error:
                raise _not_read(uri, error) from error
            try:
                seal(made)
                put(made, target, is_whole)
            except OSError as error:
                raise refused(target.parent, error) from error
    return target / CONTENT


def opened(store: Store, uri: str, root: Path) -> Bundle:
    """The bundle of a logged router, after all that its digest covers was compared; no code of the router has run.

    root: its folder. Raises MissingError if it is no router, CorruptBundleError for what is not as it was built: as
    the store says, and ``MMEFRAME_EXPECT_DIGEST`` where it is set.
    """
    if not (root / artifact.BUNDLE).is_dir():
        raise _no_router(uri)
    expect = os.environ.get("MMEFRAME_EXPECT_DIGEST")
    bundle = Bundle(root / artifact.BUNDLE, expect)
    logged = _logged_digest(store, uri)
    if logged not in (None, bundle.digest):
        what = "the store knows another digest of this router"
        raise CorruptBundleError(str(bundle.folder), logged, bundle.digest, what)
    artifact.check(root, bundle.manifest, strict=(expect or logged) is not None)
    artifact.forget_bytecode(root)
    return bundle


def verified(store: Store, uri: str) -> tuple[Path, Bundle]:
    """A logged router's folder and its bundle, every byte of it checked. Raises CorruptBundleError for another one."""
    root = fetch(store, uri)
    bundle = opened(store, uri, root)
    bundle.verify()
    return root, bundle


@contextmanager
def reading(store: Store, uri: str) -> Iterator[Bundle]:
    """The bundle of a logged router while the block runs: nothing is loaded, and no copy is kept."""
    import mlflow

    _check_registered(store, uri)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            root = Path(mlflow.artifacts.download_artifacts(uri, dst_path=None if _is_local(uri) else scratch))
        except Exception as error:
            raise _not_read(uri, error) from error
        if not (root / artifact.BUNDLE).is_dir():
            raise _no_router(uri)
        yield Bundle(root / artifact.BUNDLE)


def load(store: Store, uri: str) -> Router:
    """The live router at a URI. Raises MissingError if there is no model, or if it is not a router of mmeframe."""
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException

    _check_registered(store, uri)
    root = fetch(store, uri)
    try:
        # MLflow imports code of the model. Of a router it is what was built.
        if (root / artifact.BUNDLE).is_dir():
            opened(store, uri, root)
        # A copy in the cache folder must stay what was downloaded.
        with without_bytecode():
            loaded = mlflow.pyfunc.load_model(str(root), suppress_warnings=True)
    except (MlflowException, OSError) as error:
        if isinstance(error.__cause__, MmeframeError):
            # The router's entrypoint refuses this process, and MLflow says so in words of its own.
            raise error.__cause__ from error
        raise _not_read(uri, error, "loaded") from error
    try:
        model = loaded.unwrap_python_model()
    except MlflowException:
        model = None
    if not hasattr(model, "router"):
        raise _no_router(uri, "Build one with mmeframe build.")
    router: Router = model.router
    return router


def _logged_digest(store: Store, uri: str) -> str | None:
    """What the store says of a router, None for one that it does not know."""
    name = registered_name(uri)
    version, model_id = store.pin(uri, store.named([name]) if name else {})
    if version is not None:
        return version.tags.get(ROUTER_TAG)
    models = store.logged_models(f"model_id = '{model_id}'", ()) if model_id else ()
    return next((model.tags.get(ROUTER_TAG) for model in models), None)


def _check_registered(store: Store, uri: str) -> None:
    """Name what is missing, with the nearest name, before MLflow does it without."""
    _check_scheme(uri)
    name = registered_name(uri)
    if name:
        store.pin(uri, store.named([name]))


def _check_scheme(uri: str) -> None:
    scheme = uri.partition(":/")[0]
    near = nearest(scheme, ("models", "runs")) if ":/" in uri else None
    if near and near != scheme:
        where = f"{near}{uri[len(scheme) :]}"
        raise UsageError(f"{uri}: there is no scheme {scheme!r}.", where="--model", hint=f"Did you mean {where}?")


def _is_local(uri: str) -> bool:
    return "://" not in uri and not uri.startswith(("models:/", "runs:/"))


def _no_router(uri: str, hint: str = "") -> MissingError:
    return MissingError(f"{uri} is not a router of mmeframe.", where="--model", hint=hint)


def _not_read(uri: str, error: Exception, done: str = "read") -> MissingError:
    if isinstance(error, MmeframeError):
        raise error
    # A storage fails in its own ways, some without a word.
    said = (str(error).splitlines() or [type(error).__name__])[0]
    what = f"{uri} cannot be {done}: {said}"
    return MissingError(what, where="--model", hint=as_written(uri))
