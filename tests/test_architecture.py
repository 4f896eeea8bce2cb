"""The house rules that a machine can hold: imports, lengths, clocks, names, docstrings."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICES = ("profile_service", "candidate_service", "ranking_service")
PACKAGES = (*SERVICES, "service_runtime", "corkboard", "datasets")

# Library → the only places that may import it. One door for each keeps its traps behind that door.
DOORS = {
    "lmdb": {
        "profile_service/store.py",
        "profile_service/generation_store.py",
        "profile_service/live_copy.py",
    },
    "opentelemetry": {"service_runtime/span_export.py"},
    "usearch": {"candidate_service/vector_index.py"},
    "lightgbm": {
        "ranking_service/tree_ranker.py",
        "ranking_service/models/boosting.py",
        "ranking_service/jobs/train_ranker.py",
    },
    "tantivy": {"candidate_service/text_index.py", "candidate_service/text_analysis.py"},
    "imagehash": {"candidate_service/image_hash.py"},
    "onnxruntime": {"candidate_service/picture_net.py"},
    "lark": {"candidate_service/filter_language.py"},
    "duckdb": {"service_runtime/batch/duckdb_engine.py"},
    "protovalidate": {"service_runtime/validation.py"},
}
EDGES = ("servicer.py", "upstream.py", "server.py", "encoding.py")
"""Ends of the names of the modules where a call comes in or goes out."""

# Longer than the rule, for a reason.
LONG_MODULES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}


def modules() -> list[Path]:
    """Every hand-written module of the product, relative to the root."""
    found = [
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "_pb2" not in path.name
    ]
    assert len(found) > 40, "the tree was not found; nothing would be checked"
    return found


@cache
def parsed(path: Path) -> ast.Module:
    """A module's syntax tree; every rule asks for it."""
    return ast.parse((ROOT / path).read_text())


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Every node of it."""
    return tuple(ast.walk(parsed(path)))


def imports(path: Path) -> Iterator[str]:
    """Every module name that a file imports, wherever in the file."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import; name the package"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top(path: Path) -> str:
    """The package that a module belongs to."""
    return path.parts[0]


@pytest.mark.parametrize("path", modules(), ids=str)
class TestModule:
    def test_services_stay_apart(self, path: Path) -> None:
        """No service imports another; the runtime imports none of them, nor their contract."""
        foreign = set(SERVICES) - {top(path)}
        if top(path) == "service_runtime":
            foreign |= {"corkboard", "datasets"}
        if top(path) in SERVICES:
            foreign |= {"datasets", "corkboard.cli", "corkboard.client"}

        guilty = [n for n in imports(path) if any(n == f or n.startswith(f + ".") for f in foreign)]

        assert guilty == []

    def test_wire_stays_at_the_edges(self, path: Path) -> None:
        """Messages and gRPC appear only where a call comes in or goes out."""
        at_edge = path.name.endswith(EDGES) or top(path) == "corkboard"
        wire = [n for n in imports(path) if n.startswith("corkboard.") and "_pb2" in n]
        grpc = [n for n in imports(path) if n == "grpc" or n.startswith("grpc.")]

        assert at_edge or wire == []
        assert at_edge or top(path) == "service_runtime" or grpc == []

    def test_each_library_has_one_door(self, path: Path) -> None:
        """A library with traps is imported in one place only."""
        names = {name.split(".")[0] for name in imports(path)}

        guilty = [lib for lib, doors in DOORS.items() if lib in names and str(path) not in doors]

        assert guilty == []

    def test_kernels_are_only_numbers(self, path: Path) -> None:
        """A kernel module imports arrays, their compiler and other kernels, nothing else."""
        if not path.name.endswith("kernels.py"):
            return
        allowed = {"__future__", "numpy", "numba", "math", "llvmlite", "typing", "collections"}

        guilty = [
            name
            for name in imports(path)
            if name.split(".")[0] not in allowed and "kernels" not in name
        ]

        assert guilty == []

    def test_nobody_imports_an_entry_point(self, path: Path) -> None:
        """Jobs, servers and mains are started, never imported (a main may import its server)."""
        last = (
            {"jobs", "__main__"} if path.name == "__main__.py" else {"jobs", "server", "__main__"}
        )
        ours = [n for n in imports(path) if n.split(".")[0] in SERVICES]

        guilty = [n for n in ours if any(f".{word}" in n for word in last)]

        assert guilty == [] or top(path) == "tests"

    def test_environment_is_read_in_one_place(self, path: Path) -> None:
        """Only service_runtime/config.py and the command line look at the environment."""
        if str(path) == "service_runtime/config.py" or top(path) in {"corkboard", "datasets"}:
            return
        text = (ROOT / path).read_text()

        assert "os.environ" not in text
        assert "getenv" not in text

    def test_rules_have_no_clock_and_no_dice(self, path: Path) -> None:
        """Time and chance are handed in; only edges own a clock or an unseeded generator."""
        edge = path.name in {"__main__.py", "server.py"} or "jobs" in path.parts
        if edge or top(path) in {"service_runtime", "corkboard", "datasets"}:
            return
        text = (ROOT / path).read_text()

        for word in ("time.time()", "datetime.now", "utcnow", "default_rng()", "random.random()"):
            assert word not in text, word

    def test_the_runtime_does_not_know_the_domain(self, path: Path) -> None:
        """service_runtime knows processes, files, clocks and sockets; never what we recommend."""
        if top(path) != "service_runtime":
            return
        words = set(ast_names(path))

        assert words.isdisjoint({"pin", "board", "medoid", "pin_id", "board_id", "user_id", "pins"})

    def test_modules_and_functions_are_short(self, path: Path) -> None:
        """No module over 400 lines, no function over 60, but for the listed ones."""
        text = (ROOT / path).read_text()
        lines = text.count("\n")

        assert lines <= 400 or str(path) in LONG_MODULES, lines
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = body_length(node)
                name = f"{path}:{node.name}"
                assert length <= 60 or name in LONG_FUNCTIONS or path.name == "kernels.py", (
                    name,
                    length,
                )

    def test_public_elements_have_docstrings(self, path: Path) -> None:
        """Modules, public classes and public functions say what they promise."""
        tree = parsed(path)

        assert ast.get_docstring(tree), "module"
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), node.name

    def test_rooms_have_names(self, path: Path) -> None:
        """No room for things that did not find theirs."""
        vague = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base"}

        assert vague.isdisjoint({part.removesuffix(".py") for part in path.parts})


def ast_names(path: Path) -> Iterator[str]:
    """Every identifier of a module."""
    for node in nodes(path):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name


def body_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or first.lineno) - first.lineno + 1


@pytest.mark.parametrize("service", SERVICES)
def test_services_are_twins(service: str) -> None:
    """Whoever has learnt one service has learnt all: the same files in the same places."""
    skeleton = {"README.md", "__init__.py", "__main__.py", "config.py", "server.py", "servicer.py"}

    present = {path.name for path in (ROOT / service).iterdir()}

    assert skeleton | {"kernels.py", "jobs"} <= present


def test_every_source_has_its_job_and_its_contract_test() -> None:
    """A candidate source is a module, a contract test and a row in the service's README."""
    sources = [p.stem for p in (ROOT / "candidate_service/sources").glob("*.py")]
    readme = (ROOT / "candidate_service/README.md").read_text()

    assert len(sources) > 3
    for source in set(sources) - {"__init__"}:
        assert (ROOT / f"tests/candidate_service/sources/test_{source}.py").exists(), source
        assert f"`{source}`" in readme, source
