"""Small files, few parameters, no imports in a circle, one place for each thing; every check can find a fault."""

import ast
import re
import statistics
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import lightning_layerscope

PACKAGE, TESTS = Path(lightning_layerscope.__file__).parent, Path(__file__).parent
MOST_LINES, MOST_PARAMETERS = 300, 8

# What users call with keywords; everything else is called by this package.
PUBLIC = {
    "advice/check_models.py": {"check_layers"},
    "comparison/compare.py": {"compare"},
    "extraction/extract.py": {"extract_hidden_states"},
    "measurements/take.py": {"take_measurement"},
    "monitor/callback.py": {"__init__"},  # of every host
    "probes/base.py": {"__init__"},  # of ProbeSet
    "probes/probe_set.py": {"from_datasets", "from_tasks"},
    "study/trial/advise.py": {"advise"},
    "tasks/hf.py": {"load_datasets"},
    "training/datamodule.py": {"__init__"},  # of InstructionDataModule
    "training/pretraining.py": {"pretrain"},
    "transitions/find.py": {"find_transitions"},
    "transitions/find_signals.py": {"find_signals"},
}


def sources(folder):
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in sorted(folder.rglob("*.py"))}


def long_files(folder):
    return [name for name, text in sources(folder).items() if len(text.splitlines()) > MOST_LINES]


def wide_functions(folder):
    """File to the functions in it with more parameters than a reader keeps apart."""
    wide = {}
    for name, text in sources(folder).items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = node.args
                every = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
                if len([each for each in every if each not in ("self", "cls")]) > MOST_PARAMETERS:
                    wide.setdefault(name, set()).add(node.name)
    return wide


def defined_twice(folder):
    """Names that one file binds more than once at its top level, the last one winning in silence."""
    twice = {}
    for name, text in sources(folder).items():
        counts = Counter()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                counts[node.name] += 1
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            counts.update(target.id for target in targets if isinstance(target, ast.Name))
        if again := sorted(each for each, count in counts.items() if count > 1):
            twice[name] = again
    return twice


def import_order(package):
    """All modules, each behind what it imports; imports inside functions count, those for type checkers do not."""
    grimp = pytest.importorskip("grimp", reason="needs import-linter: pip install import-linter")
    graph = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    return list(TopologicalSorter(imports).static_order())


def warnings_let_pass(folder):
    """Files with marks that let warnings pass."""
    return [name for name, text in sources(folder).items() if re.search(r"mark\.filterwarnings\(\s*.ignore", text)]


def missing_files(text, folder):
    """Names of Python files in a text that no file below the folder ends with."""
    files = [f"/{path.as_posix()}" for path in folder.rglob("*.py")]
    return [name for name in re.findall(r"[\w/]+\.py\b", text) if not any(file.endswith(f"/{name}") for file in files)]


def test_files_are_small():
    assert long_files(PACKAGE) == []
    assert statistics.median(len(text.splitlines()) for text in sources(PACKAGE).values()) <= 110


def test_functions_have_few_parameters_but_public_entry_points():
    assert wide_functions(PACKAGE) == PUBLIC


def test_nothing_is_defined_twice():
    assert defined_twice(PACKAGE) == {}


def test_no_modules_import_each_other_in_a_circle():
    assert len(import_order("lightning_layerscope")) > 300


def test_warnings_are_let_pass_in_pyproject_alone():
    assert warnings_let_pass(TESTS) == []


def test_the_files_that_contributing_names_are_there():
    text = TESTS.with_name("CONTRIBUTING.md").read_text("utf-8")
    assert missing_files(text, TESTS.parent) == []


@pytest.fixture
def bad_package(tmp_path, monkeypatch):
    package = tmp_path / "badly_kept_house"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "long.py").write_text("x = 1\n" * 301)
    parameters = ", ".join(f"p{number}" for number in range(9))
    (package / "wide.py").write_text(f"def wide({parameters}): ...\ndef kept(self, {parameters[4:]}): ...\n")
    (package / "one.py").write_text("def late():\n    from badly_kept_house import two\n")
    (package / "two.py").write_text("import badly_kept_house.one\n")
    (package / "loud.py").write_text(f"pytestmark = pytest.mark.{'filterwarnings'}('ignore')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return package


def test_the_checks_find_what_they_look_for(bad_package):
    assert long_files(bad_package) == ["long.py"]
    assert wide_functions(bad_package) == {"wide.py": {"wide"}}
    assert defined_twice(bad_package) == {"long.py": ["x"]}
    assert warnings_let_pass(bad_package) == ["loud.py"]
    assert missing_files("as `badly_kept_house/wide.py` and `house/wide.py` say, and gone.py", bad_package.parent) == [
        "house/wide.py",
        "gone.py",
    ]
    with pytest.raises(CycleError):
        import_order("badly_kept_house")
