"""``seqjax.bench scaling``: what more devices would bring, from the compiled training step.

Every number of devices is compiled for, virtual ones on a CPU, and its collectives counted. The
seconds are a prediction: of a model so small that all its assumptions are printed.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from rich.progress import Progress
from rich.table import Table

from seqjax.bench.collectives import Kind
from seqjax.bench.report import Figure, Options, Report, table
from seqjax.bench.turns import BenchError, Worker

TITLES: dict[Kind, str] = {"wavenet": "WaveNet", "gru": "GRU"}


@dataclasses.dataclass(frozen=True)
class Scaling(Options):
    """Collectives of a training step over 1 to 256 devices, and the scaling they predict.

    Of a WaveNet (dilated causal convolutions) and a GRU, float32, Adam. The steps are compiled
    for virtual CPU devices, in a process each, and not run.
    """

    only: tuple[Kind, ...] = tuple(TITLES)
    """Models."""
    devices: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    """Numbers of devices; they must divide the batch."""
    batch: int = 256
    """Sequences of a step, on all devices together: strong scaling."""
    each: int = 16
    """Sequences of a step on each device: weak scaling."""
    steps: int = 1024
    """Of each sequence."""
    features: int = 256
    """Width of the layers."""
    layers: tuple[int, int] = (10, 2)
    """Of the WaveNet, and of the GRU."""
    efficiency: float = 0.3
    """Share of the peak that products reach."""
    measure: bool = False
    """Run and time the steps, too, on the real devices of this machine: beside the prediction."""


class Hardware(NamedTuple):
    """What the prediction assumes of some devices.

    Attributes:
        name: of them.
        most: devices that its network joins.
        peak: float32 operations a second of one, as XLA runs products by default.
        bandwidth: bytes a second that a device sends while the others send, too.
        latency: seconds of a collective of nothing.
        hop: seconds more for each device along the way, in a torus.
        kernel: seconds from one dependent small kernel to the next.
    """

    name: str
    most: int
    peak: float
    bandwidth: float
    latency: float
    hop: float
    kernel: float

    def collective(self, op: str, size: int, devices: int) -> float:
        """Seconds of one, by the ring algorithm; `size` in bytes, of its result."""
        if devices == 1:
            return 0.0
        share = (devices - 1) / devices
        passes = {"all-reduce": 2 * share, "reduce-scatter": devices - 1.0}.get(op, share)
        if op.startswith("collective"):
            passes = 1.0
        hops = 2 * math.sqrt(devices)  # there and back, half of each side of a square torus
        return self.latency + hops * self.hop + passes * size / self.bandwidth


# Data sheets: an H100 SXM has 494 Tflop/s in TF32, dense, and 450 GB/s each way by NVLink; a TPU
# v5e 197 Tflop/s in bfloat16 (how XLA runs float32 products there) and four links of 50 GB/s each
# way, two of them in a ring along one axis of its torus, taken as 45. Latencies, and the time from
# kernel to kernel, are orders of magnitude.
HARDWARE = (
    Hardware("eight H100, NVLink", 8, 494e12, 450e9, 10e-6, 0.0, 5e-6),
    Hardware("TPU v5e pod slice", 256, 197e12, 90e9, 1e-6, 1e-6, 1e-6),
)


class Compiled(NamedTuple):
    """What `seqjax.bench.collectives.step_of` found for one number of devices."""

    devices: int
    collectives: Sequence[tuple[str, int, int]]
    seconds: float
    weights: int
    step: float | None = None


def computing(hardware: Hardware, config: Scaling, kind: Kind, weights: int, each: float) -> float:
    """Seconds that one device computes in a step of `each` sequences.

    Six operations for each weight and step of a sequence, two forward and four backward, at a
    share of the peak; or what the kernels take that wait for each other, if that is longer.
    """
    products = 6 * weights * each * config.steps / (hardware.peak * config.efficiency)
    layers = config.layers[list(TITLES).index(kind)]
    turns = 2 * config.steps if kind == "gru" else 2
    return max(products, 3 * layers * turns * hardware.kernel)


def predict(
    hardware: Hardware, config: Scaling, kind: Kind, found: Compiled, *, weak: bool
) -> float:
    """Seconds of a training step: the devices compute, then exchange, with no overlap.

    Example:
        >>> one = Compiled(1, [], 0.0, weights=1000)
        >>> round(predict(HARDWARE[0], Scaling(), "gru", one, weak=True), 4)
        0.0614
    """
    each = float(config.each) if weak else config.batch / found.devices
    exchange = sum(
        times * hardware.collective(op, size, found.devices)
        for op, size, times in found.collectives
    )
    return computing(hardware, config, kind, found.weights, each) + exchange


def run(config: Scaling) -> Report:
    """Compile, in a process for each number of devices, and predict.

    Args:
        config: what to compile.

    Returns:
        Figures of every model and number of devices, and the tables.

    Raises:
        BenchError: for a batch that the devices do not divide, or what did not compile.
    """
    if config.quick:
        quick = (1, 2, 8) if config.devices == Scaling.devices else config.devices
        config = dataclasses.replace(config, devices=quick, features=32, steps=64)
    for devices in config.devices:
        if devices < 1 or config.batch % devices:
            raise BenchError(f"--devices: {devices} do not divide the batch of {config.batch}.")
    found: dict[Kind, list[Compiled]] = {}
    with Progress(transient=True) as progress:
        bar = progress.add_task("scaling", total=len(config.only) * len(config.devices))
        for kind in config.only:
            for devices in config.devices:
                progress.update(bar, description=f"{TITLES[kind]}, {devices} devices")
                found.setdefault(kind, []).append(_compiled(config, kind, devices))
                progress.advance(bar)
    settings = dataclasses.asdict(config) | {"hardware": [one._asdict() for one in HARDWARE]}
    return Report("scaling", settings, figures(config, found), tables(config, found))


def _compiled(config: Scaling, kind: Kind, devices: int) -> Compiled:
    arguments = {
        "kind": kind,
        "devices": devices,
        "batch": config.batch,
        "steps": config.steps,
        "features": config.features,
        "layers": config.layers[list(TITLES).index(kind)],
        "measure": config.measure,
    }
    with Worker() as worker:
        entry = "seqjax.bench.collectives:step_of"
        answer = worker.ask(do="call", entry=entry, arguments=arguments)
    if "value" not in answer:
        problem = str(answer.get("failed") or answer.get("missing"))
        raise BenchError(problem.removeprefix("ValueError: "))
    return Compiled(devices, **answer["value"])


def figures(config: Scaling, found: dict[Kind, list[Compiled]]) -> list[Figure]:
    """Seconds to compile, bytes and number of collectives; predicted, and measured, steps."""
    made = []
    for kind, rows in found.items():
        for one in rows:
            values = [
                ("compile", one.seconds, "s", ""),
                ("collectives", _number(one), "collectives", ""),
                ("collective bytes", _bytes(one), "bytes", ""),
            ]
            values += [] if one.step is None else [("step", one.step, "s", "")]
            values += [
                (
                    name,
                    predict(hardware, config, kind, one, weak=name == "weak"),
                    "s",
                    hardware.name,
                )
                for hardware in HARDWARE
                if one.devices <= hardware.most
                for name in ("weak", "strong")
            ]
            for quantity, value, unit, hardware in values:
                labels = {"devices": one.devices, "quantity": quantity, "hardware": hardware}
                made.append(Figure(kind, labels, [value], unit=unit))
    return made


def _number(one: Compiled) -> int:
    return sum(times for *_, times in one.collectives)


def _bytes(one: Compiled) -> int:
    return sum(size * times for _, size, times in one.collectives)


def tables(config: Scaling, found: dict[Kind, list[Compiled]]) -> list[Table]:
    """What was counted; what is predicted, for each kind of hardware; what is assumed."""
    shape = f"batch {config.batch}, T {config.steps}, width {config.features}, float32"
    columns = ["devices", "collectives", "kB", "compile, s"]
    columns += ["step measured, ms"] if config.measure else []
    counted = table(f"counted in the compiled step: {shape}", ["model"], columns)
    for kind, rows in found.items():
        for one in rows:
            cells = [f"{one.devices}", f"{_number(one)}", f"{_bytes(one) / 1e3:.1f}"]
            cells += [f"{one.seconds:.1f}"]
            cells += [] if one.step is None else [f"{one.step * 1e3:.3g}"]
            counted.add_row(TITLES[kind], *cells)
        counted.add_section()
    made = [counted]
    for hardware in HARDWARE:
        title = f"predicted, {hardware.name}: {config.each} sequences each, and {config.batch}"
        columns = ["devices", "weak, ms", "efficiency", "strong, ms", "speed-up"]
        predicted = table(f"{title} together", ["model"], columns)
        for kind, rows in found.items():
            first = rows[0]._replace(devices=1, collectives=())
            for one in rows:
                if one.devices <= hardware.most:
                    weak, strong, weak_1, strong_1 = (
                        predict(hardware, config, kind, step, weak=weak)
                        for step in (one, first)
                        for weak in (True, False)
                    )
                    predicted.add_row(
                        TITLES[kind],
                        f"{one.devices}",
                        f"{weak * 1e3:.3g}",
                        f"{weak_1 / weak:.0%}",
                        f"{strong * 1e3:.3g}",
                        f"{strong_1 / strong:.1f}",
                    )
            predicted.add_section()
        made.append(predicted)
    return [*made, _assumptions(config)]


def _assumptions(config: Scaling) -> Table:
    columns = ["Tflop/s, peak", "of it", "GB/s", "collective, us", "hop, us", "kernel, us"]
    found = table("assumed; nothing overlaps, and every collective is a ring", ["of"], columns)
    for one in HARDWARE:
        cells = [one.peak / 1e12, config.efficiency, one.bandwidth / 1e9]
        cells += [value * 1e6 for value in (one.latency, one.hop, one.kernel)]
        found.add_row(one.name, *(f"{value:g}" for value in cells))
    return found
