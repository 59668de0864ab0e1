"""The command line."""

from jaxdistill.cli.entry import command as command
from jaxdistill.cli.entry import main as main

__all__ = ["command", "main"]
