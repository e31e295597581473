"""A section's process: ``python -m seqjax.bench.gpu.child NAME ENTRY DRY``; rows as JSON lines.

What else is printed goes to stderr.
"""

import json
import math
import os
import sys
import threading
import traceback

from seqjax.bench.gpu.rows import Row, problem
from seqjax.bench.worker import call_entry


def main() -> None:
    """Run the section that the parent names."""
    name, entry, dry = sys.argv[1:]
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    lock = threading.Lock()

    def emit(row: Row) -> None:
        # JSON has no NaN.
        values = {
            key: value if _writable(value) else str(value) for key, value in row.values.items()
        }
        line = json.dumps(row._replace(section=name, values=values)._asdict())
        with lock:
            print(line, file=lines, flush=True)

    try:
        call_entry(entry, {"dry": dry == "dry", "emit": emit})
    except Exception as error:
        traceback.print_exc()
        emit(problem({"what": "the section itself"}, error))
        sys.exit(1)


def _writable(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


if __name__ == "__main__":
    main()
