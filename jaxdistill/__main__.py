"""``python -m jaxdistill``."""

from jaxdistill.cli import command

command()
