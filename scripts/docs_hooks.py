"""What mkdocs is told beside mkdocs.yml: pages that are made from the sources.

- the README, CONTRIBUTING.md and CHANGELOG.md as pages, their links turned to where pages are;
- a page for each notebook, its stored pictures beside it;
- a page of the API for each package, from what its ``__init__`` offers;
- `seqjax...` in code, where it names something of the API, as a link to it.
"""

import ast
import base64
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import griffe
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
ROOTED = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"} | {
    "CHANGELOG.md": "changelog.md"
}
API = {
    "ops": ["ops"],
    "nn": ["nn"],
    "models": ["models"],
    "train": ["train"],
    "data": ["data"],
    "forecast": [
        "forecast",
        "forecast.naive",
        "forecast.plots",
        "forecast.metrics",
        "forecast.conformal",
        "forecast.generated",
    ],
    "io": ["io"],
    "losses": ["losses", "ngram", "sensitivity"],
    "study": ["study", "runs", "launch", "config", "devices", "report", "local"],
    "storage": [
        f"storage.{name}" for name in ("files", "trees", "same", "strict_json", "versions")
    ],
}
"""The modules of each page, below `seqjax`."""


# -- the API -------------------------------------------------------------------------


class Name(NamedTuple):
    """Something public.

    Attributes:
        module: where it is defined.
        name: its name.
        first: the first paragraph of its docstring.
    """

    module: str
    name: str
    first: str

    @property
    def anchor(self) -> str:
        """Its place on the page."""
        return f"{self.module}.{self.name}"


@functools.cache
def parsed(module: str) -> ast.Module:
    """The source of a module or package."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text())


def first_paragraph(node: Any) -> str:
    """Of a docstring, in one line; "" where there is none."""
    return " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())


@functools.cache
def defined(module: str) -> dict[str, str]:
    """Public names that a module defines and documents, with their first paragraphs."""
    found = {}
    body = parsed(module).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = first_paragraph(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            text = after.value if isinstance(after, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[ast.unparse(target)] = " ".join(text.value.partition("\n\n")[0].split())
    return {name: text for name, text in found.items() if text and name[0] != "_"}


def offered(module: str) -> Iterator[Name]:
    """The public names of a package, which it imports; of a module, which it defines."""
    for node in parsed(module).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("seqjax."):
            source = str(node.module)
            for alias in node.names:
                if alias.name == "*":
                    yield from starred(source)
                elif alias.asname == alias.name:  # `import x as x`: offered
                    text = defined(source).get(alias.name)
                    if text is not None:
                        yield Name(source, alias.name, text)
    if not ROOT.joinpath(*module.split(".")).is_dir():
        yield from (Name(module, name, text) for name, text in defined(module).items())


def starred(module: str) -> Iterator[Name]:
    """What `from module import *` brings: its `__all__`, or what it has and stars itself."""
    texts = defined(module)
    for node in parsed(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            yield from (Name(module, one, texts[one]) for one in ast.literal_eval(node.value))
            return
    for node in parsed(module).body:
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            yield from starred(str(node.module))
    yield from (Name(module, name, text) for name, text in texts.items())


def api_page(title: str, modules: list[str]) -> str:
    """A page of the API: a table of its names, then each in full, by the file it is in."""
    parts = [f"# seqjax.{title}\n"]
    for module in (f"seqjax.{name}" for name in modules):
        names = list(offered(module))
        if len(modules) > 1:
            parts.append(f"## {module}\n")
        parts.append(f"{ast.get_docstring(parsed(module))}\n")
        rows = [f"| [`{one.name}`](#{one.anchor}) | {one.first} |" for one in names]
        if module == "seqjax.nn":
            rows += [f"| `{one}` | the layer of `{cell}` |" for one, cell in layers_of_cells()]
        parts.append("\n".join(["| name | what |", "|---|---|", *rows]) + "\n")
        for source in dict.fromkeys(one.module for one in names):
            if source != module:
                parts.append(f"## {source}\n\n{first_paragraph(parsed(source))}\n")
            parts += [f"::: {one.anchor}\n" for one in names if one.module == source]
    return "\n".join(parts)


def layers_of_cells() -> list[tuple[str, str]]:
    """Layers that are made at run time, each with its cell."""
    cells = [one.name for one in starred("seqjax.ops.registry") if one.name.endswith("Cell")]
    return [(name.removesuffix("Cell"), f"seqjax.ops.{name}") for name in cells]


def api_pages() -> dict[str, str]:
    """Every page of the API, and the one that leads to them."""
    pages = {f"api/{title}.md": api_page(title, modules) for title, modules in API.items()}
    rows = [
        f"| [{title}]({title}.md) | {first_paragraph(parsed(f'seqjax.{modules[0]}'))} |"
        for title, modules in API.items()
    ]
    rows = [
        "# API\n",
        "What each package offers, from its docstrings.\n",
        "| | |",
        "|---|---|",
        *rows,
    ]
    return pages | {"api/index.md": "\n".join(rows) + "\n"}


class Examples(griffe.Extension):
    """Our sections are called "Example:", what reads the docstrings wants "Examples:"."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Of every object that is read."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)


# -- notebooks -----------------------------------------------------------------------


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by name."""
    parts, pictures = [], {}
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![{data['text/plain'][0]}]({name})")
            else:
                text = "".join(output.get("text") or data["text/plain"])
                parts.append(f"```text\n{text.rstrip()}\n```")
    first, *rest = parts
    return "\n\n".join(
        [first, f"This page is the notebook [{path.name}]({path.name}).", *rest]
    ), pictures


# -- what mkdocs calls ---------------------------------------------------------------


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made here."""
    for cached in (parsed, defined, anchors):  # sources change while `mkdocs serve` runs
        cached.cache_clear()

    def add(name: str, content: str | bytes) -> None:
        files.append(File.generated(config, name, content=content))

    for source, page in ROOTED.items():
        text = re.sub(r"\]\(docs/", "](", (ROOT / source).read_text())
        add(page, text if page != "index.md" else f"---\nhide: [navigation]\n---\n\n{text}")
    for page, text in api_pages().items():
        add(page, text)
    for path in sorted(Path(config.docs_dir).glob("notebooks/*.ipynb")):
        text, pictures = notebook_page(path)
        add(f"notebooks/{path.stem}.md", text)
        for name, data in pictures.items():
            add(f"notebooks/{name}", data)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files of the root, and to notebooks, lead to their pages."""
    for source, target in ROOTED.items():
        up = "../" * page.file.src_uri.count("/")
        markdown = re.sub(rf"\]\((\.\./)*{source}", f"]({up}{target}", markdown)
    if page.file.src_uri.startswith("notebooks/"):
        return markdown
    return markdown.replace(".ipynb)", ".md)")


@functools.cache
def anchors() -> dict[str, str]:
    """Where each public name is told, by the name that users write and the one of its file."""
    found = {}
    for module in (f"seqjax.{name}" for modules in API.values() for name in modules):
        for one in offered(module):
            found[f"{module}.{one.name}"] = found[one.anchor] = one.anchor
    return found


def on_page_content(html: str, config: Any, **_: Any) -> str:
    """Names of the API in code become links."""
    known = anchors()

    def linked(match: re.Match[str]) -> str:
        anchor = known.get(match[1])
        whole = match[0]
        return f'<autoref optional identifier="{anchor}">{whole}</autoref>' if anchor else whole

    return re.sub(r"<code>(seqjax(?:\.\w+)+)</code>", linked, html)
