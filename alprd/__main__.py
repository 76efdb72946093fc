"""`python -m alprd`: the same program as `alprd`."""

import sys

from alprd.cli import main

if __name__ == "__main__":
    sys.exit(main())
