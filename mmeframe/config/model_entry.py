"""What may stand below ``models.<id>``: options of which plugins make a ``SubModelEntry``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import WithJsonSchema

from mmeframe.option_types import Arm
from mmeframe.plugin.conf import FileSignatureConf
from mmeframe.sections import Options
from mmeframe.spec import MAIN_ARM

__all__ = ["ModelConf"]

# Editors are told which values can be keys; ``parse`` says what to do about others, such as YAML's NO.
KeyValue = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}]})]


@dataclass(frozen=True, slots=True)
class ModelConf(Options):
    # Any URI that MLflow knows, a folder, or a bare estimator file.
    uri: str | None = None
    # {part: value}; {} for the global sub-model, none for one that no row is routed to. null: the id is the key.
    key: dict[str, KeyValue] | Literal["none"] | None = None
    # The flavor of the MLmodel file to load.
    flavor: str = "auto"
    # A loader's name, or {kind: <name>, <option>: <value>}.
    loader: Any = "auto"
    # main, or a variant for the same key, such as canary.
    arm: Arm = MAIN_ARM
    # true: with residency lazy, it never leaves memory.
    pin: bool = False
    # Columns and answers, where the files do not say them.
    signature: FileSignatureConf | None = None
    # false: it may be built in though it answers no probe rows. null: as its source, or model_defaults, says.
    prove: bool | None = None
    # {kind: mean, of: [<id>, <id>]}: the answer of several others, instead of a uri.
    combine: dict[str, Any] | None = None
