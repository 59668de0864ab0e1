"""``python -m jaxdistill``."""

import sys

from jaxdistill.cli import main

sys.exit(main())
