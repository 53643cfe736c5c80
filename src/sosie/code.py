"""The digest of the code that a step runs, so that an edited module reruns its step."""

import ast
from functools import cache
from pathlib import Path

from sosie import __version__
from sosie.files import digest

PACKAGE = Path(__file__).parent


def _path(module: str) -> Path | None:
    """The file of a module of this package, None for a name that is not one."""
    place = PACKAGE.joinpath(*module.split(".")[1:])
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _imports(path: Path) -> frozenset[str]:
    """Modules of this package that a file imports anywhere, the packages around them included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == PACKAGE.name:
                found |= {".".join(parts[:end]) for end in range(2, len(parts) + 1)}
    return frozenset(name for name in found if _path(name))


def modules(step: str) -> list[str]:
    """Names of the modules that the module of a step imports, transitively, itself included."""
    found, waiting = set(), [f"{PACKAGE.name}.{step}"]
    while waiting:
        module = waiting.pop()
        path = _path(module)
        if module not in found and path:
            found.add(module)
            waiting += _imports(path)
    return sorted(found)


class _Wordless(ast.NodeTransformer):
    """Takes the docstrings out of a syntax tree and, where nothing is drawn, the labels."""

    def __init__(self, labels: bool) -> None:
        self.labels = labels

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
        match node:
            case ast.Call(func=ast.Name(id="Quantity")) if not self.labels:
                node.args, node.keywords = [], []
        return self.generic_visit(node)


@cache
def _dump(text: str, labels: bool) -> str:
    """The syntax tree of a module without words, as text; made once for the rules that share it."""
    return ast.dump(_Wordless(labels).visit(ast.parse(text)))


@cache
def _callers(step: str) -> str:
    """The syntax trees of the functions of the command that import the module of a step, as text."""
    path = _path(f"{PACKAGE.name}.commands")
    functions = ast.parse(path.read_text(encoding="utf-8")).body if path else []
    return "".join(
        ast.dump(_Wordless(labels=True).visit(function))
        for function in functions
        if any(
            isinstance(node, ast.ImportFrom)
            and node.module == PACKAGE.name
            and step in {alias.name for alias in node.names}
            for node in ast.walk(function)
        )
    )


def code_digest(step: str) -> str:
    """Digest of the version, the modules of a step and its command, without comments and docstrings.

    Labels (the arguments of ``Quantity``) and the template of the page count for a step that makes
    a page, one that imports jinja2: a changed axis label retrains nothing.
    """
    texts = {}
    for module in modules(step):
        path = _path(module)
        assert path
        texts[module] = path.read_text(encoding="utf-8")
    makes_page = any("import jinja2" in text for text in texts.values())
    parts = [__version__, _callers(step)]
    for module, text in texts.items():
        parts += [module, _dump(text, makes_page or "Quantity" not in text)]
    if makes_page:
        parts += [page.read_text("utf-8") for page in sorted(PACKAGE.glob("templates/*"))]
    return digest(*parts)
