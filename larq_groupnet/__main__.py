"""`python -m larq_groupnet` is `larq-groupnet`."""

import sys

from larq_groupnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
