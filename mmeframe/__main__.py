"""``python -m mmeframe``: the same as the ``mmeframe`` command."""

from mmeframe.cli import entry

if __name__ == "__main__":
    entry()
