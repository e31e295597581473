"""Section "flags": command buffers, which only a process's start can set."""

import os
import subprocess
import sys

from seqjax.bench.cases import Case
from seqjax.bench.gpu.choices import layer_gradient
from seqjax.bench.gpu.measure import compiled, in_turns
from seqjax.bench.gpu.rows import Emit, Row, problem

FLAGS = {
    "as XLA sets them": "",
    "no command buffers": "--xla_gpu_enable_command_buffer=",
    "and for WHILE": "--xla_gpu_enable_command_buffer=+WHILE",
    "from 2 operations on": "--xla_gpu_graph_min_graph_size=2",
    "and for WHILE, from 2 operations on": (
        "--xla_gpu_enable_command_buffer=+WHILE --xla_gpu_graph_min_graph_size=2"
    ),
}


def run(dry: bool, emit: Emit) -> None:
    """A row for each set of XLA_FLAGS: ms of an LSTM, forward + backward."""
    for name, flags in list(FLAGS.items())[: 2 if dry else None]:
        labels = {"flags": name, "XLA_FLAGS": flags}
        together = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
        environment = os.environ | {"XLA_FLAGS": together}
        command = [sys.executable, "-m", "seqjax.bench.gpu.flags", "dry" if dry else "full"]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=30
            )
            if done.returncode:
                said = done.stderr.strip().rpartition("\n")[2]
                raise RuntimeError(f"status {done.returncode}: {said}")
            emit(Row(labels, {"ms": float(done.stdout.split()[-1])}))
        except Exception as error:
            emit(problem(labels, error))


def main() -> None:
    """One process: prints milliseconds."""
    size = (2, 16, 8, 8) if sys.argv[1] == "dry" else (16, 1024, 256, 256)
    program, arguments = layer_gradient(Case("lstm", *size))
    run = compiled(program, *arguments).run
    print(1e3 * in_turns({"only": run}, 5, 0.05)["only"])


if __name__ == "__main__":
    main()
