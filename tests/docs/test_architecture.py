"""What the code promises about itself: sizes, layers, commands, documents and Celery's options."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import celery
import grimp
import pytest
from celery.app.defaults import NAMESPACES, flatten
from click import Command, Group

from tests.support.pages import PAGE, below, help_of, page
from worker.cli import COMMANDS, dredge
from worker.cli.up import PROCFILE

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for top in ("model", "worker", "bench") for path in (ROOT / top).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])

MODULE_LINES = 250
TEST_LINES = 400
FUNCTION_LINES = 40


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_a_module_has_one_noun() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in [*SOURCES, *TESTS]}
    limits = {path: TEST_LINES if path in TESTS else MODULE_LINES for path in lengths}
    assert {_name(path): lines for path, lines in lengths.items() if lines > limits[path]} == {}


def _functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions of a module, and those in them; expressions, most of the nodes, have none."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield child
        if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)):
            yield from _functions(child)


def test_a_function_fits_half_a_screen() -> None:
    functions = (
        (f"{_name(path)}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for path in [*SOURCES, *TESTS]
        for node in _functions(ast.parse(path.read_text()))
    )
    assert {name: lines for name, lines in functions if lines > FUNCTION_LINES} == {}


def test_each_layer_imports_only_those_below() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_no_modules_import_each_other() -> None:
    """Not even inside a function: `CycleError` names the modules of a circle."""
    graph = grimp.build_graph("model", "worker", "bench", "tests", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(list(TopologicalSorter(imports).static_order())) > len(SOURCES)


def test_sql_is_in_the_model() -> None:
    statement = re.compile(r"\b(SELECT\s.+\sFROM|INSERT INTO|DELETE FROM|UPDATE \w+ SET)\b", re.DOTALL)
    texts = (
        (_name(path), node.value)
        for path in SOURCES
        if ROOT / "worker" in path.parents
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    assert [found for found in texts if statement.search(found[1])] == []


def test_importing_opens_nothing() -> None:
    story = "import socket; socket.socket.connect = None; import worker, worker.cli, model.registry, model.gc"
    subprocess.run([sys.executable, "-c", story], check=True, env={"PATH": os.defpath}, cwd=ROOT)


def test_the_procfile_is_what_up_runs_without_one() -> None:
    assert (ROOT / "Procfile").read_text() == PROCFILE


# ------------------------------------------------------------------ commands


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_explains_itself_and_its_options(name: str) -> None:
    for command in below(name):
        assert "Usage: " in help_of(command)
        found: Command | None = dredge
        for part in command:
            assert isinstance(found, Group)
            found = found.get_command(None, part)  # type: ignore[arg-type]
        assert found is not None
        options = [option for option in found.params if option.param_type_name == "option"]
        assert [option.name for option in options if not getattr(option, "help", "")] == []


def _documented() -> Iterator[tuple[str, str, str]]:
    """(document, command, the rest of its line) of every `dredge …` in code."""
    for path in DOCUMENTS:
        for code in re.findall(r"```.*?```|`[^`\n]+`", path.read_text(), re.DOTALL):
            for line in code.strip("`").splitlines():
                for name, rest in re.findall(r"\bdredge ([a-z]+(?:-[a-z]+)*)\b([^|;&#\n]*)", line):
                    yield _name(path), name, rest


def test_every_command_in_the_documents_is_there_with_its_options() -> None:
    wrong = []
    for document, name, rest in _documented():
        if name not in COMMANDS:
            wrong.append(f"{document}: dredge {name}")
            continue
        word = re.match(r"\s*([a-z]+)\b", rest)
        deeper = (name, word[1]) if word and (name, word[1]) in below(name) else (name,)
        own = rest.split(" -- ")[0]
        unknown = [option for option in re.findall(r"--[a-z][a-z-]+", own) if option not in help_of(deeper)]
        wrong += [f"{document}: dredge {name} {option}" for option in unknown]
    assert wrong == []


def test_the_page_of_commands_is_what_they_say() -> None:
    assert PAGE.read_text() == page(), "run `make docs`"


def test_links_between_documents_lead_somewhere() -> None:
    links = (
        (path, target)
        for path in DOCUMENTS
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())
        if "://" not in target
    )
    assert [f"{_name(path)}: {target}" for path, target in links if not (path.parent / target).exists()] == []


# -------------------------------------------------------------------- Celery

_TELL = """
import json, runpy
from worker.tasks import application
application.finalize()
tasks = {n: sorted(vars(type(t))) for n, t in application.tasks.items() if not n.startswith("celery.")}
config = runpy.run_path("celeryconfig.py")
beat = {n: [e["task"], sorted(e), sorted(e.get("options", {}))] for n, e in config["beat_schedule"].items()}
names = [n for n, v in config.items() if n.islower() and not n.startswith("_") and not hasattr(v, "__spec__")]
print(json.dumps({
    "tasks": tasks, "beat": beat, "routes": config["task_routes"], "names": names,
    "queues": [queue.name for queue in config["task_queues"]],
}))
"""


@pytest.fixture(scope="module")
def told() -> Any:
    environment = {"PATH": os.defpath, "DREDGE_BROKER_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "-c", _TELL], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_option_of_a_task_is_one_that_celery_knows(told: Any) -> None:
    made_by_celery = {"app", "run", "_decorated", "_decorated_fun"}
    made_by_python = {"__wrapped__", "__header__", "__annotations__"}
    configured = {name for name, _ in celery.Task.from_config}
    known = set(dir(celery.Task)) | configured | made_by_celery | made_by_python
    unknown = {name: set(options) - known for name, options in told["tasks"].items()}
    assert {name: options for name, options in unknown.items() if options} == {}


def test_every_beat_entry_and_route_names_a_task(told: Any) -> None:
    assert told["tasks"]
    for task, entry, options in told["beat"].values():
        assert task in told["tasks"]
        assert set(entry) <= {"task", "schedule", "args", "kwargs", "options", "relative"}
        assert set(options) <= {"expires", "queue", "priority"}
    assert set(told["routes"]) == set(told["tasks"])
    assert {route["queue"] for route in told["routes"].values()} <= set(told["queues"])


def test_every_setting_of_celery_is_one_that_it_knows(told: Any) -> None:
    known = {name for name, _ in flatten(NAMESPACES)}
    ours = {name for name in told["names"] if name not in ("settings", "os", "routes")}
    assert {name for name in ours if name not in known and not name.startswith("redbeat_")} == set()
