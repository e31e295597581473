"""A run's results as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seqjax.bench.gpu.sections import SECTIONS

Cells = Mapping[str, Any]


def render(value: Mapping[str, Any]) -> str:
    """All sections of a file of `seqjax.bench.gpu.results`."""
    device = value["device"]
    facts = ", ".join(f"{name} {found}" for name, found in device.items() if name != "name")
    versions = ", ".join(f"{name} {one}" for name, one in value.get("versions", {}).items())
    parts = [f"### {device['name']}\n", f"{facts}; {versions}\n"]
    if value["choices"] and not value["dry"]:
        won = ", ".join(f"`{name}={one}`" for name, one in value["choices"].items())
        parts.append(f"Set by the launcher on this device: {won}\n")
    for name, section in value["sections"].items():
        rows = [row for row in value["rows"] if row["section"] == name]
        bad = sum(row["status"] == "FAILED" for row in rows)
        said = f"{section['status']}, {section['seconds']:.0f} s, {section['UTC']} UTC"
        counted = f"{len(rows)} rows, {bad} FAILED" if bad else f"{len(rows)} rows"
        what = SECTIONS[name].what if name in SECTIONS else ""
        parts.append(f"#### {name}: {what}\n\n{said}; {counted}\n")
        parts += [table(cells) for cells in _tables(name, rows, value["rows"])]
    return "\n".join(parts)


def _tables(name: str, rows: list[Cells], every: Sequence[Cells]) -> list[list[Cells]]:
    """A section's tables, each a list of rows of cells by column."""
    if name in ("checks", "kernels"):
        return [_by_precision(rows)]
    if name in ("layers", "torch.compile"):
        return [_beside_cudnn(rows, every)]
    return [[_cells(row) for row in rows]]


def _cells(row: Cells) -> dict[str, Any]:
    found = dict(row["labels"]) | dict(row["values"])
    if row["status"] != "ok":
        found["status"] = f"{row['status']}: {row['note']}"
    return found


def _by_precision(rows: Iterable[Cells]) -> list[Cells]:
    """A line for each op and implementation: relative errors of values / gradients."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        labels = dict(row["labels"])
        key = labels.get("op", ""), labels.get("implementation", "")
        line = found.setdefault(key, {"op": key[0], "implementation": key[1]})
        column = labels.get("precision", "status")
        if row["values"]:
            line[column] = " / ".join(_number(error) for error in row["values"].values())
        if row["status"] != "ok":
            line[column] = f"{line.get(column, '')} {row['status']}: {row['note']}".strip()
    return sorted(found.values(), key=lambda line: (line["op"], line["implementation"]))


_LAYER = ("layer", "dtype", "B", "T", "H")


def _beside_cudnn(rows: Sequence[Cells], every: Sequence[Cells]) -> list[Cells]:
    """Times, how many times as fast as PyTorch with cuDNN, and the share of the device's limits."""
    limits = {
        (row["labels"].get("what"), row["labels"].get("dtype")): row["values"]
        for row in every
        if row["section"] == "device" and row["labels"].get("precision", "default") == "default"
    }
    lines: list[Cells] = []
    for row in rows:
        labels, values = row["labels"], row["values"]
        if row["status"] == "missing" or "layer" not in labels:
            lines.append(_cells(row))
            continue
        line = {name: labels[name] for name in (*_LAYER, "contestant")}
        cudnn = _cudnn(labels, every)
        product = limits.get(("product", labels["dtype"]), {}).get("TFLOP/s")
        copy = limits.get(("copy, read + write", None), {}).get("GB/s")
        for program in ("forward", "forward + backward"):
            mine = values.get(f"{program}, ms")
            if mine is None:
                continue
            line[f"{program}, ms"] = mine
            if cudnn and (theirs := cudnn.get(f"{program}, ms")):
                line[f"{program}, x cuDNN"] = theirs / mine
            if product and copy:
                shares = values[f"{program}, TFLOP/s"] / product, values[f"{program}, GB/s"] / copy
                line[f"{program}, % of the limit"] = 100 * max(shares)
        for name in ("compile s", "first run s"):
            if name in values:
                line["compile, s"] = values[name]
        if "temporary bytes" in values:
            line["working memory, MB"] = values["temporary bytes"] / 1e6
        lines.append(line | {k: v for k, v in _cells(row).items() if k == "status"})
    return lines


def _cudnn(labels: Cells, every: Sequence[Cells]) -> Cells | None:
    """The figures of PyTorch at a layer and shape: in this dtype, or where cuDNN refuses, half."""
    found = {
        row["labels"]["contestant"]: row["values"]
        for row in every
        if row["section"] == "layers"
        and row["values"]
        and all(row["labels"].get(name) == labels[name] for name in _LAYER)
    }
    names = [name for name in ("torch", "torch, float16") if name in found]
    return next((found[name] for name in names if found[name].get("cuDNN", True)), None)


def table(rows: Sequence[Cells]) -> str:
    """Markdown; columns in the order in which they first appear.

    Example:
        >>> print(table([{"a": "x", "ms": 0.12345}, {"a": "y", "note": "no | such"}]))
        | a | ms | note |
        |---|---|---|
        | x | 0.123 |  |
        | y |  | no / such |
        <BLANKLINE>
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if not columns:
        return "(nothing)\n"
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = (_number(row.get(name, "")).replace("|", "/") for name in columns)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value).replace("\n", " ")
