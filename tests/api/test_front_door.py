"""Proves that the front door holds exactly the names it promises, that each is there, and that opening it is light."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import solon
from solon.errors import EXTRA_OF

ROOT = Path(__file__).parents[2]

NAMES = [
    "Comparison",
    "ConfigError",
    "Constitution",
    "ConstitutionError",
    "Conversation",
    "EvalRecord",
    "Evaluation",
    "Failure",
    "Grade",
    "JournalError",
    "LanguageModel",
    "LocalModel",
    "Message",
    "MissingExtraError",
    "ModelError",
    "PreferenceLabel",
    "Principle",
    "Prompt",
    "RevisionChain",
    "RevisionStep",
    "RunConfig",
    "RunError",
    "RunResult",
    "SFTExample",
    "Sample",
    "Sampling",
    "ScriptedModel",
    "SolonError",
    "Task",
    "__version__",
    "build_config",
    "load_constitution",
    "load_run",
    "run",
    "write_report",
]


def test_the_front_door_holds_these_names_sorted():
    assert solon.__all__ == NAMES
    assert sorted(NAMES) == NAMES
    assert 25 <= len(NAMES) <= 35


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_and_comes_from_where_it_says(name):
    value = getattr(solon, name)
    assert name in dir(solon)
    if name != "__version__":
        assert value.__name__ == name
        assert value.__module__.startswith("solon.")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'constitute'"):
        _ = solon.constitute


def test_the_version_is_that_of_the_distribution():
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert declared is not None
    assert solon.__version__ == declared.group(1)


def test_only_the_worlds_grader_and_the_check_of_its_model_ask_the_oracle():
    source = ROOT / "src" / "solon"
    asking = {p.relative_to(source).as_posix() for p in source.rglob("*.py") if imports_oracle(p)}
    assert asking == {"world/grader.py", "world/nano/check.py"}


def imports_oracle(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (
            node.module == "solon.world.oracle"
            or (node.module == "solon.world" and any(alias.name == "oracle" for alias in node.names))
        ):
            return True
        if isinstance(node, ast.Import) and any(alias.name == "solon.world.oracle" for alias in node.names):
            return True
    return False


def modules_after(code):
    script = f"{code}\nimport sys; print(*sorted(sys.modules), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_it_imports_nothing_heavy():
    loaded = modules_after("import solon")
    assert not {"torch", "transformers", "pydantic", "numpy", "yaml", "jinja2", "typer"} & loaded


def test_constitutions_records_tasks_and_reports_work_without_torch():
    loaded = modules_after(
        "import solon\nsolon.load_constitution('default'); solon.Prompt; solon.write_report; solon.ScriptedModel\n"
        "class Mine(solon.Task): pass\nsolon.Evaluation; solon.Grade(values={'kind': True})"
    )
    assert not {"torch", "transformers", "safetensors"} & loaded


def test_what_needs_torch_says_so_where_it_is_missing(tmp_path):
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'torch':
            raise ModuleNotFoundError("No module named 'torch'", name='torch')
sys.meta_path.insert(0, Absent())
import solon
try:
    solon.LocalModel
except solon.MissingExtraError as error:
    print(error)
try:
    solon.run(out=sys.argv[1])
except solon.MissingExtraError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "torch is not installed: run  pip install '.[local]'  in a checkout of solon\n" * 2
    assert not (tmp_path / "run").exists()


def test_addresses_keys_and_settings_of_servers_work_without_the_network_libraries():
    loaded = modules_after(
        "import solon\nfrom solon.lm import JournaledModel, ModelSpec, read_tries\n"
        "from solon.lm.server.address import parse_address\nfrom solon.lm.server.keys import find_keys\n"
        "from solon.lm.server.transport import TransportSettings\nfind_keys(parse_address('http://a/v1#m'), None)"
    )
    assert not {"openai", "httpx2", "aiolimiter", "torch"} & loaded


@pytest.mark.parametrize("absent", ["openai", "aiolimiter"])
def test_what_needs_the_network_libraries_says_so_where_one_is_missing(absent, tmp_path):
    (tmp_path / "reaching.py").write_text("import solon.lm.server.client\n")
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == '{absent}':
            raise ModuleNotFoundError("No module named '{absent}'", name='{absent}')
sys.meta_path.insert(0, Absent())
from solon.errors import MissingExtraError
from solon.lm import ModelSpec, find_backend
from solon.cli.errors import reports_errors
try:
    find_backend(ModelSpec(source='x', backend='reaching'))
except MissingExtraError as error:
    print(error)
@reports_errors
def command():
    import solon.lm.server.client
command()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    said = f"{absent} is not installed: run  pip install '.[api]'  in a checkout of solon\n"
    assert (done.stdout, done.stderr, done.returncode) == (said, f"error: {said}", 2)


def test_help_answers_at_once_and_without_torch():
    code = "import contextlib, sys\nsys.argv = ['solon', '--help']\nfrom solon.cli import main"
    loaded = modules_after(f"{code}\nwith contextlib.suppress(SystemExit):\n    main()")
    assert not {"torch", "transformers", "pydantic", "numpy", "rich"} & loaded


INDIRECT = ("tokenizers", "httpx2")
"""Packages that another of the extra brings."""


def test_every_extra_that_an_error_names_is_one_of_the_package_and_brings_what_is_missing():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    said = [
        found
        for file in (ROOT / "src").rglob("*.py")
        for found in re.findall(r'MissingExtraError\(([^,()]+), "(\w+)"\)', file.read_text(encoding="utf-8"))
    ]
    said += [(f'"{package}"', extra) for package, extra in EXTRA_OF.items() if package not in INDIRECT]
    assert {extra for _, extra in said} == {"api", "gguf", "leaks", "local"}
    brought = {extra: [re.match(r"[\w-]+", wanted)[0] for wanted in extras[extra]] for _, extra in said}
    named = [(package.strip('"'), extra) for package, extra in said if package.startswith('"')]
    assert {("gguf", "gguf"), ("rensa", "leaks"), ("openai", "api")} <= set(named)
    assert [(package, extra) for package, extra in named if package not in brought[extra]] == []


def test_type_checkers_see_the_same_names_from_the_same_rooms():
    tree = ast.parse((ROOT / "src" / "solon" / "__init__.py").read_text())
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: statement.module for statement in checked.body for alias in statement.names}
    assert seen == {name: f"solon.{room}" for name, room in solon._ROOMS.items()}
