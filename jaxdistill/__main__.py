"""``python -m jaxdistill``."""

from jaxdistill.cli.entry import command

command()
