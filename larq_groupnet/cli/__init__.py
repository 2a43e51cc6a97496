"""`larq-groupnet COMMAND`: reads flags and makes one call. TensorFlow loads after the flags."""

from larq_groupnet.cli import table as _table  # noqa: F401, registers the commands
from larq_groupnet.cli.program import COMMANDS, main

__all__ = ["COMMANDS", "main"]
