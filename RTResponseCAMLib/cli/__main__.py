"""Run the command line with ``python -m RTResponseCAMLib.cli``."""

import sys

from RTResponseCAMLib.cli import main

if __name__ == "__main__":
    sys.exit(main())
