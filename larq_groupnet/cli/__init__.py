"""`larq-groupnet COMMAND`: reads flags and makes one call. TensorFlow loads after the flags."""

from larq_groupnet.cli.program import main
from larq_groupnet.cli.table import COMMANDS

__all__ = ["COMMANDS", "main"]
