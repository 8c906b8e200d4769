"""The bundle: the one artifact inside a logged router, three files.

``manifest.json`` holds the facts of the fleet, ``records.arrow`` one record per sub-model (Arrow IPC, memory-mapped)
and ``pack.bin`` the bytes, content-addressed. Lowest layer: numpy, and pyarrow on use; no MLflow, no Hydra.

The manifest's ``digest`` is the sha256 of its own canonical JSON without that field; it covers the digests of the
records and of the pack's index, which cover everything else. Digests detect damage; compared with a digest from
elsewhere (``MMEFRAME_EXPECT_DIGEST``, the LoggedModel's tag) they detect tampering too.
"""

from mmeframe.bundle.format import FORMAT, MANIFEST, PACK, RECORDS, FileRef, SubModelRecord
from mmeframe.bundle.reader import Bundle
from mmeframe.bundle.writer import BundleWriter

__all__ = ["FORMAT", "MANIFEST", "PACK", "RECORDS", "Bundle", "BundleWriter", "FileRef", "SubModelRecord"]
