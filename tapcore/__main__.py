"""Run the command line: ``python -m tapcore``."""

import sys

from tapcore.cli import main

sys.exit(main())
