"""What can be done: each command is one record, in a file of its own that says what it does and prints.

Results go to standard output, everything else to standard error. Importing the records imports nothing heavy, because
``--help`` and a TAB read them; a command imports what it needs when it runs.
"""

from __future__ import annotations

from collections.abc import Mapping

from mmeframe.commandline import ConfigCommand, PlainCommand
from mmeframe.commands import (
    build,
    completion,
    demo,
    explain,
    init,
    plan,
    plugins,
    predict,
    schema,
    serve,
    show,
    train,
    validate,
)

__all__ = ["COMMANDS"]

# In the order of the help.
_MODULES = (demo, train, build, validate, plan, explain, predict, serve, show, plugins, schema, init, completion)
COMMANDS: Mapping[str, ConfigCommand | PlainCommand] = {it.COMMAND.name: it.COMMAND for it in _MODULES}
