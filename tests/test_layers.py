"""The layers of docs/architecture.md, held against every import in poets/.

Imports are read by `ast`, those inside functions included; so are the names of
modules in the tables of adapters, which are imported by `importlib`.
"""

import ast
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from poets.backbones import FAMILIES
from poets.data.packs import KINDS as PACKS
from poets.features.engines import ADAPTERS as ENGINES
from poets.formats import FORMATS
from poets.report.findings import SECTIONS
from poets.storage import ADAPTERS as STORAGES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "poets"

LAYERS = (  # highest first; a module imports from lines below, or further to the right
    ("__main__", "poets.py", "__init__", "api"),
    ("cli/",),
    ("kubernetes/", "spark/", "dcos/", "serve/"),
    ("job", "sweeps/", "retraining", "fine_tuning/", "preflight"),
    ("export/", "classifier/", "report/"),
    ("workers/", "features/", "head/"),
    ("flags", "doctor/", "data/", "backbones/"),
    ("storage/", "kerberos/"),
    ("formats", "config", "cluster", "system/", "errors"),
)

ADAPTERS = (  # modules of one kind: none imports another
    {module for module, _ in STORAGES.values()},
    {row.module for row in FAMILIES.values()},
    {*ENGINES.values()},
    {*PACKS.values()},
    {row.exporter for row in FORMATS.values()},
    {f"poets.report.findings.{name}" for name in SECTIONS},
)

TABLES = {"poets.formats"}
"""Modules that name those of higher layers in strings, and import none of them."""

CLIENTS = {  # third-party package -> the modules that import it
    "ai_edge_litert": {
        "features.engine_litert",
        "classifier.tflite_metadata",  # one function: the schema of a model
    },
    "google": {"serve.server.tf_protos", "serve.server.tf_grpc"},  # protobuf
    "google_crc32c": {"data.packs.parquet", "data.packs.tfrecord"},
    "grpc": {"serve.server.tf_grpc"},
    "prometheus_client": {"serve.server.telemetry"},
    "starlette": {
        *(
            "serve.server.http",
            "serve.server.guard",
            "serve.server.inputs",
            "serve.server.page",
        ),
        *("serve.server.tf_rest", "serve.server.open_inference", "serve.openwhisk"),
    },
    "async_timeout": {"serve.server.guard", "serve.server.tf_grpc"},  # Python 3.10
    "pybase64": {"serve.server.tf_rest", "serve.server.open_inference"},
    "uvloop": {"serve.server.run"},
    "uvicorn": {"serve.openwhisk", "serve.server.http"},
    "cv2": {"data.images", "data.same_picture", "features.process"},
    "jinja2": {"report.page"},
    "markupsafe": {"report.page.charts", "report.page.pictures"},
    "pygal": {"report.page.charts"},
    "flatbuffers": {"classifier.tflite_metadata"},
    "keras": {"backbones.keras_networks"},
    "onnx": {"export.onnx"},
    "onnxruntime": {"features.engine_onnx"},
    "tf2onnx": {"export.convert_onnx"},
    "matplotlib": {"report.curve", "sweeps.plot"},
    "PIL": {"data.images", "classifier.digits", "classifier.with_tensorflow"},
    "hdfs": {"storage.hadoop.web_client"},
    "hdfs_native": {"storage.hadoop.native"},
    "pyarrow": {  # the interface of every storage, and the feature store's format
        "storage",
        *(
            f"storage.{name}"
            for name in (
                *("publish_lock", "follow", "hadoop.native", "hadoop.web"),
                *("handler", "local", "objects", "objects.backend", "objects.errors"),
                *("parts", "publish", "reading", "tree"),
            )
        ),
        "data.columns",
        "data.dataset",
        "data.image_columns",
        "data.image_listing",
        "data.packing",
        "data.packs",
        "data.packs.listing",
        "data.packs.parquet",
        "data.packs.tar",
        "data.packs.tfrecord",
        "data.packs.zip",
        "data.source",
        "data.split",
        "data.suggestions",
        "doctor.packs",
        "doctor.steps_storage",
        "preflight",
        "backbones.saved_model",
        "features.index",
        "features.plan",
        "features.process",
        "features.store",
        "classifier",
        "classifier.sources",
        "fine_tuning.files",
        "head.summaries",
        "report.cleaning",
        "report.labels",
        "report.listing",
        "report.threshold",
        "serve.server.models",
        "sweeps.results",
        "workers.executor",
        "workers.folder",
    },
    "requests": {
        "serve.abaco.client",
        "storage.hadoop.web_client",
        "storage.hadoop.web_errors",
        "storage.objects.proxy",
        "system.connections",
        "system.http",
    },
    "py4j": {
        *("spark.checks", "workers.delegation", "workers.locality", "workers.spark"),
    },
    "pyspark": {
        *("spark.checks", "spark.driver"),
        *("workers.executor", "workers.locality", "workers.spark"),
    },
    "requests_kerberos": {"storage.hadoop.web_client", "storage.hadoop.web_errors"},
    "simplejpeg": {"data.images"},
    "tensorflow": {
        "system.runtime",
        "dcos.task",  # imports nothing of poets
        "backbones.freezing",  # one function: constants for variables
        "export.frozen",  # one function: the defaults of attributes
    },
    "tensorflow_hub": {"backbones.saved_model"},  # one function: an extra
    "tqdm": {"system.progress"},
    "urllib3": {"system.connections", "system.http"},
}
AT_MODULE_LEVEL = {"tensorflow": {"system.runtime"}, "tensorflow_hub": set()}

WITHOUT_NUMPY = {*LAYERS[-2], *LAYERS[-1], "flags", "job", "dcos/", "__init__"}

PRINT = {
    *("cli/", "__main__"),
    *("dcos.task", "features.process", "fine_tuning.process", "serve.server.process"),
    *("serve.abaco.one_picture", "serve.openwhisk"),
}
"""Programs, some started as processes of their own, and what they print by."""

PATHS = {
    ".".join(("poets", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in PATHS.items()}
ENTRIES = sorted(
    f"{path.name}/" if path.is_dir() else path.stem.replace("poets", "poets.py")
    for path in PACKAGE.iterdir()
    if path.suffix == ".py" or (path / "__init__.py").exists()
)


def entry_of(module: str) -> str:
    """Returns a module's name in the table, as "cli/" for poets.cli.label."""
    if module == "poets":
        return "__init__"
    entry = module.split(".")[1]
    if entry == "poets":
        return "poets.py"
    return f"{entry}/" if f"{entry}/" in ENTRIES else entry


def place_of(module: str) -> int:
    """Returns how many names stand before a module's, from the highest line on."""
    return [name for line in LAYERS for name in line].index(entry_of(module))


def imported_by(tree: ast.AST) -> Iterator[str]:
    """Yields what the import statements name: a module, or a name in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_modules(tree: ast.AST) -> set[str]:
    """Returns the modules of poets that a tree imports.

    `from poets import __version__` imports none: `poets` is already loaded.
    """
    found = set()
    for name in imported_by(tree):
        if name.split(".")[0] == "poets" and name != "poets.__version__":
            found.add(name if name in PATHS else name.rpartition(".")[0])
    return found


def named_modules(tree: ast.AST) -> set[str]:
    """Returns the modules of poets that are named in strings, as for importlib."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith("poets.")
        and node.value in PATHS
    }


def documented_layers() -> tuple[tuple[str, ...], ...]:
    """Returns the table in docs/architecture.md: the names that begin each line."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    section = text.partition("## Layers")[2].partition("\n## ")[0]
    block = section.split("```")[1]
    lines = re.findall(r"^ ?\d+[a-z]? +(.*)$", block, re.MULTILINE)
    known = {*ENTRIES, *(name for line in LAYERS for name in line)}
    layers = []
    for line in lines:
        names = itertools.takewhile(known.__contains__, line.split())  # then prose
        layers.append(tuple(names))
    return tuple(layers)


def test_architecture_document_draws_the_same_layers():
    assert documented_layers() == LAYERS


def test_every_module_has_one_place():
    assert sorted(name for line in LAYERS for name in line) == ENTRIES


@pytest.mark.parametrize("module", PATHS)
def test_imports_come_from_lower_lines_or_further_to_the_right(module):
    imported = own_modules(TREES[module])
    if module not in TABLES:
        imported |= named_modules(TREES[module])
    wrong = {
        other
        for other in imported
        if entry_of(other) != entry_of(module) and place_of(other) <= place_of(module)
    }
    assert not wrong, f"{module} imports {sorted(wrong)} from further up or left"


def test_no_module_imports_itself_round_a_circle():
    # A package's __init__ runs before its modules: importing the module imports it.
    edges = {
        module: own_modules(tree) - {module, module.rpartition(".")[0]}
        for module, tree in TREES.items()
    }
    left = dict(edges)
    while free := [name for name, to in left.items() if not to & left.keys()]:
        for name in free:
            del left[name]
    assert not left, "these import each other"


@pytest.mark.parametrize("package", [e[:-1] for e in ENTRIES if e.endswith("/")])
def test_a_package_does_not_import_what_it_contains(package):
    name = f"poets.{package}"
    assert not {
        other for other in own_modules(TREES[name]) if other.startswith(f"{name}.")
    }


@pytest.mark.parametrize("adapters", ADAPTERS, ids=lambda of: min(of).split(".")[1])
def test_adapters_do_not_know_each_other(adapters):
    for module in adapters:
        assert not (own_modules(TREES[module]) & adapters)


def test_each_client_is_imported_where_it_is_meant_to_be():
    found: dict[str, set[str]] = {name: set() for name in CLIENTS}
    for module, tree in TREES.items():
        for name in imported_by(tree):
            client = name.split(".")[0]
            if client in CLIENTS:
                found[client].add(module.removeprefix("poets."))
    # The task imports TensorFlow by importlib, with its C++ lines held back.
    assert 'import_module("tensorflow")' in PATHS["poets.dcos.task"].read_text("utf-8")
    found["tensorflow"].add("dcos.task")
    assert found == CLIENTS


def test_no_client_is_left_out_of_the_table():
    known = {*sys.stdlib_module_names, *CLIENTS, "poets", "numpy"}
    imported = {
        name.split(".")[0] for tree in TREES.values() for name in imported_by(tree)
    }
    assert imported <= known


@pytest.mark.parametrize(("client", "modules"), AT_MODULE_LEVEL.items())
def test_heavy_clients_are_imported_inside_functions(client, modules):
    found = set()
    for module, tree in TREES.items():
        inside = {
            id(node)
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef)
            for node in ast.walk(function)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in inside:
                names = {name.split(".")[0] for name in imported_by(node)}
                found |= {module.removeprefix("poets.")} if client in names else set()
    assert found == modules


def test_the_lowest_layers_and_the_hook_need_no_numpy():
    importers = {
        module
        for module, tree in TREES.items()
        if "numpy" in {name.split(".")[0] for name in imported_by(tree)}
    }
    assert not {module for module in importers if entry_of(module) in WITHOUT_NUMPY}


@pytest.mark.parametrize("module", PATHS)
def test_only_programs_print_or_exit(module):
    if entry_of(module) in PRINT or module.removeprefix("poets.") in PRINT:
        return
    called = {
        ast.unparse(node.func)
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Call)
    }
    assert not called & {"print", "sys.exit", "exit", "quit", "os._exit"}


def test_no_two_files_of_tests_have_one_name():
    """pytest imports each by its name alone, and refuses the second."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
