"""The command line: ``python -m seqjax forecast | predict | run | bench``."""

from seqjax.cli import main

if __name__ == "__main__":
    main()
