"""Models and tokenizers have types: where one is handled, nothing is `Any`, which a checker takes for everything."""

import ast
from collections.abc import Iterator
from pathlib import Path

import solon

ROOMS = ("nets", "inference", "training", "lm", "world/nano")

UNTYPED = {
    ("lm/backends/local.py", "payload"): "a seed or the options' tokens, as the call is one to continue or to choose",
    ("lm/backends/local.py", "group"): "what calls of a batch have in common: sampling and stop strings, or nothing",
    (
        "lm/backends/local.py",
        "_submit",
    ): "a `Generated` or log-probabilities, as its call is to continue or to choose",
    ("nets/gguf/writing.py", "writer"): "a `GGUFWriter` of the gguf library, which is loaded where it is needed",
}
"""The only ones that are: file and name, and why it is no model and no tokenizer."""

NAMED = ("model", "tokenizer", "policy", "reference", "scorer", "network", "engine", "decoder", "sampler")


def annotations(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Every name with its annotation: of parameters, results (under the function's name), attributes and variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            yield node.arg, node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            yield node.name, node.returns
        elif isinstance(node, ast.AnnAssign):
            yield ast.unparse(node.target).split(".")[-1], node.annotation


def can_be_anything(annotation: ast.expr) -> bool:
    """Whether `Any` is what it says, or one of what it says."""
    match annotation:
        case ast.Constant(value=str(text)):
            return can_be_anything(ast.parse(text, mode="eval").body)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return can_be_anything(left) or can_be_anything(right)
        case ast.Subscript(value=outer, slice=inner) if ast.unparse(outer).split(".")[-1] in ("Optional", "Union"):
            return any(can_be_anything(part) for part in (inner.elts if isinstance(inner, ast.Tuple) else [inner]))
    return ast.unparse(annotation).split(".")[-1] == "Any"


def names_any(annotation: ast.expr) -> bool:
    """Whether it says `Any` anywhere."""
    return "Any" in {ast.unparse(node).split(".")[-1] for node in ast.walk(ast.parse(ast.unparse(annotation)))}


def is_an_alias_of_any(value: ast.expr | None) -> bool:
    """Whether a name that is given this value is another name for `Any`."""
    return value is not None and not isinstance(value, ast.Constant) and can_be_anything(value)


def find_untyped(source: str) -> list[str]:
    """The names that stand for anything, and the names of models and tokenizers that may hold it."""
    tree = ast.parse(source)
    found = [
        name
        for name, annotation in annotations(tree)
        if can_be_anything(annotation) or (any(part in name.lower() for part in NAMED) and names_any(annotation))
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and is_an_alias_of_any(node.value):
            found += map(ast.unparse, node.targets if isinstance(node, ast.Assign) else [node.target])
    return found


def test_nothing_is_untyped_where_models_and_tokenizers_are_handled() -> None:
    root = Path(solon.__file__).parent
    files = [path for room in ROOMS for path in sorted((root / room).rglob("*.py"))]
    found = {
        (path.relative_to(root).as_posix(), name)
        for path in files
        for name in find_untyped(path.read_text(encoding="utf-8"))
    }
    assert found == set(UNTYPED)


def test_what_is_untyped_is_found() -> None:
    source = """
Alias = Any
Other: TypeAlias = typing.Any
def load(path: Path, *rest: Any, factory: "Path | Any") -> Any:
    count: Any = 3
    self.kept: Optional[Any] = None
    body: dict[str, Any] = {}
    models: dict[str, Any] = {}
    waiting: list[Any] = []
"""
    assert sorted(find_untyped(source)) == [
        *("Alias", "Other", "count", "factory", "kept", "load", "models", "rest"),
    ]
