"""The command line: ``python -m seqjax.bench layers | compile | train | generate | ...``."""

from seqjax.bench.command import main

if __name__ == "__main__":
    main()
