"""The command line: ``python -m seqjax.bench.gpu``."""

from seqjax.bench.gpu.command import main

if __name__ == "__main__":
    main()
