"""The bundle: the one artifact inside a logged router, four files.

``manifest.json`` holds the facts of the fleet, ``records.arrow`` one record per sub-model (Arrow IPC),
``pack.bin`` the bytes, content-addressed, and ``memory.bin`` what sub-models take live. Lowest layer: numpy, and
pyarrow on use; no MLflow, no Hydra.

The manifest's ``digest`` is the sha256 of its own canonical JSON without that field; it covers the digests of the
records and of the pack's index, which cover everything else but ``memory.bin``: that is measured, so it differs by
a few bytes from build to build, and the same fleet has the same digest. Digests detect damage; compared with a digest
from elsewhere (``MMEFRAME_EXPECT_DIGEST``, the LoggedModel's tag) they detect tampering too.
"""

from mmeframe.bundle.format import FORMAT, MANIFEST, MEMORY, PACK, RECORDS, FileRef, SubModelRecord
from mmeframe.bundle.manifest import Manifest
from mmeframe.bundle.reader import Bundle
from mmeframe.bundle.writer import BundleWriter

__all__ = [
    "FORMAT",
    "MANIFEST",
    "MEMORY",
    "PACK",
    "RECORDS",
    "Bundle",
    "BundleWriter",
    "FileRef",
    "Manifest",
    "SubModelRecord",
]
