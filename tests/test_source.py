"""Nothing that reads a file executes what it holds: the source has no way to."""

import ast
import dataclasses
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    path for top in ("seqjax", "experiments", "scripts") for path in (ROOT / top).rglob("*.py")
]

MODULES = {
    "pickle", "_pickle", "cPickle", "pickle5", "dill", "cloudpickle", "joblib", "shelve", "marshal",
    "yaml", "ruamel", "runpy", "code", "codeop", "jsonpickle", "imp",
}  # fmt: skip
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    "torch.load", "pandas.read_pickle", "pandas.to_pickle", "os.system", "os.popen", "os.popen2",
    "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell",
    "importlib.util.spec_from_file_location", "importlib.machinery.SourceFileLoader",
}  # fmt: skip
ALIASES = {"np": "numpy", "jnp": "jax.numpy", "pd": "pandas"}
MUST_BE_FALSE = ("allow_pickle", "shell")  # keywords of any call

COMPUTED = "importlib.import_module of a computed name"
EXCEPTIONS = {
    ("seqjax/__init__.py", COMPUTED): "the name comes out of a fixed tuple, _LAZY",
    ("seqjax/bench/worker.py", COMPUTED): "the parent process names its entry over a pipe",
    ("seqjax/bench/compilers.py", COMPUTED): "below seqjax.bench.peers; from the same pipe",
}


@dataclasses.dataclass
class Scanner(ast.NodeVisitor):
    """Collects what executes data; names are followed through import ... as."""

    aliases: dict[str, str] = dataclasses.field(default_factory=lambda: dict(ALIASES))
    found: list[tuple[int, str]] = dataclasses.field(default_factory=list)

    def full_name(self, node):
        if isinstance(node, ast.Attribute):
            return f"{self.full_name(node.value)}.{node.attr}"
        return self.aliases.get(node.id, node.id) if isinstance(node, ast.Name) else ""

    def imported(self, node, name):
        if name.partition(".")[0] in MODULES or name in CALLS:
            self.found.append((node.lineno, name))

    def visit_Import(self, node):
        for name in node.names:
            self.imported(node, name.name)
            if name.asname:
                self.aliases[name.asname] = name.name

    def visit_ImportFrom(self, node):
        self.imported(node, node.module or "")
        for name in node.names:
            whole = f"{node.module}.{name.name}"
            self.imported(node, whole)
            if node.module == "builtins" and name.name in BUILTINS:
                self.found.append((node.lineno, name.name))
            self.aliases[name.asname or name.name] = whole

    def visit_Name(self, node):
        if node.id in BUILTINS and self.aliases.get(node.id, node.id) == node.id:
            self.found.append((node.lineno, node.id))

    def visit_Attribute(self, node):
        name = self.full_name(node)
        of_frames = node.attr in ("read_pickle", "to_pickle")
        if name in CALLS or name.removeprefix("builtins.") in BUILTINS or of_frames:
            self.found.append((node.lineno, name))
        self.generic_visit(node)

    def visit_Call(self, node):
        for keyword in node.keywords:
            off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg in MUST_BE_FALSE and not off:
                self.found.append((node.lineno, f"{keyword.arg}="))
        name = self.full_name(node.func)
        literal = node.args and isinstance(node.args[0], ast.Constant)
        if name == "numpy.load" and len(node.args) > 2:
            self.found.append((node.lineno, "allow_pickle="))
        if name == "importlib.import_module":
            if not literal:
                self.found.append((node.lineno, COMPUTED))
            else:
                self.imported(node, str(node.args[0].value))
        self.generic_visit(node)


def scan(source):
    scanner = Scanner()
    tree = ast.parse(source)
    for node in ast.walk(tree):  # imports first: they may stand within functions
        if isinstance(node, ast.Import | ast.ImportFrom):
            scanner.visit(node)
    for node in tree.body:
        scanner.visit(node)
    return sorted(set(scanner.found))


def test_no_source_file_executes_what_a_file_holds():
    assert len(FILES) > 60
    found, used = [], set()
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        for line, what in scan(path.read_text()):
            if (name, what) in EXCEPTIONS:
                used.add((name, what))
            else:
                found.append(f"{name}:{line}: {what}")
    assert not found
    assert used == EXCEPTIONS.keys(), "an exception that is not needed any more"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "import pickle as p", "from pickle import loads", "import cPickle",
        "import dill", "import cloudpickle", "import joblib", "from joblib import load",
        "import shelve", "import marshal", "import runpy", "import yaml", "from yaml import load",
        "def f():\n    import yaml.cyaml", "from ruamel import yaml",
        "eval('1')", "exec('1')", "compile('1', 'f', 'eval')", "f = eval", "map(exec, lines)",
        "__import__('os')", "import builtins\nbuiltins.eval('1')", "from builtins import exec as e",
        "import numpy as np\nnp.load(f, allow_pickle=True)", "np.load(f, None, True)",
        "np.load(f, allow_pickle=trust)", "from numpy import load\nload(f, allow_pickle=1)",
        "import torch\ntorch.load(f)", "import torch as t\nt.load(f)", "from torch import load",
        "import pandas as pd\npd.read_pickle(f)", "frame.to_pickle(f)",
        "import os\nos.system('ls')", "from os import system", "import os as o\no.popen('ls')",
        "import subprocess\nsubprocess.run('ls', shell=True)", "run('ls', shell=1)",
        "from subprocess import getoutput",
        "import importlib\nimportlib.import_module(name)", "importlib.import_module('pickle')",
        "from importlib import import_module\nimport_module(f'a.{b}')",
    ],
)  # fmt: skip
def test_the_scan_finds_each(source):
    assert scan(source)


@pytest.mark.parametrize(
    "source",
    [
        "import re\nre.compile('a')", "lowered.compile()", "model.compile(optimizer=1)",
        "model.eval()", "np.load(f)", "np.load(f, allow_pickle=False)", "import json\njson.load(f)",
        "subprocess.run(['ls'], shell=False)", "import importlib.metadata", "def compile_it(): ...",
        "importlib.import_module('keras')", "orbax.load(f)", "'import pickle; eval(1)'",
    ],
)  # fmt: skip
def test_the_scan_leaves_honest_code_alone(source):
    assert not scan(source)
