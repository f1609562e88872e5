"""The public names as the source describes them: headings, signatures and docstrings.

Both the reference page and its test read them from here. Everything is read from the source, not from the imported
objects, since only the source has the docstrings of attributes and constants and the annotations as they were written.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import coupling

ROOT = Path(coupling.__file__).parent
CONFIGURATION = "Config"
"""The class whose attributes are described in configuration.md."""

SPECIAL = ("__len__", "__getitem__", "__call__")
"""Methods that are public though their names begin with an underscore."""


@dataclass
class Member:
    """A public name, or a public member of a class."""

    name: str
    """``train``; ``CoupledModel.sample``."""
    node: ast.AST
    """Its definition in the source."""
    doc: str
    """Its docstring, or the string that follows a constant or an attribute."""
    code: str
    """Its signature or value, as Python code."""
    kind: str
    """"class", "function", "method", "property", "attribute" or "value"."""
    members: list[Member] = field(default_factory=list)

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters, without self and cls; of a class, those of its constructor."""
        node: ast.AST | None = self.node
        if isinstance(node, ast.ClassDef):
            node = next((n for n in node.body if getattr(n, "name", "") == "__init__"), None)
        if not isinstance(node, ast.FunctionDef):
            return []
        found = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        found += [part for part in (node.args.vararg, node.args.kwarg) if part]
        return [part.arg for part in found if part.arg not in ("self", "cls")]

    @property
    def options(self) -> dict[str, str]:
        """{option: description} of the constructor's parameters that are options of a component."""
        constructor = next((n for n in ast.walk(self.node) if getattr(n, "name", "") == "__init__"), None)
        if not isinstance(self.node, ast.ClassDef) or not isinstance(constructor, ast.FunctionDef):
            return {}
        calls = {a.arg: n for a in constructor.args.kwonlyargs for n in ast.walk(a) if isinstance(n, ast.keyword)
                 and n.arg == "description"}  # fmt: skip
        return {name: ast.literal_eval(keyword.value) for name, keyword in calls.items()}

    @property
    def raises(self) -> set[str]:
        """Names of the exceptions that its own code raises in so many words."""
        if not isinstance(self.node, ast.FunctionDef):
            return set()
        calls = [n.exc for n in ast.walk(self.node) if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call)]
        return {call.func.id for call in calls if isinstance(call.func, ast.Name)}

    @property
    def annotations(self) -> str:
        """All types in its signature, as one text."""
        if not isinstance(self.node, ast.FunctionDef):
            return ""
        found = [n.annotation for n in ast.walk(self.node.args) if isinstance(n, ast.arg) and n.annotation]
        return " ".join(ast.unparse(node) for node in [*found, self.node.returns] if node)


def public_names() -> dict[tuple[str, str], list[Member]]:
    """The public names under the headings of ``__init__.pyi``, then those of `coupling.testing`.

    {(title, sentence): members}.
    """
    names: dict[tuple[str, str], list[Member]] = {}
    for line in (ROOT / "__init__.pyi").read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"# (\w+): (.+)", line):
            group = names.setdefault((heading[1], heading[2][0].upper() + heading[2][1:]), [])
        elif entry := re.fullmatch(r"from \.(\S+) import (\w+) as \w+", line):
            group.append(described(f"coupling.{entry[1]}", entry[2]))
    imports = [node for node in _tree("coupling.testing").body if isinstance(node, ast.ImportFrom)]
    found = [described(str(node.module), alias.name) for node in imports for alias in node.names]
    names["Tests", "What the tests of a plugin import from `coupling.testing`."] = found
    return names


def described(module: str, name: str) -> Member:
    """A name as its module defines it."""
    for node, doc in _documented(_tree(module).body):
        if isinstance(node, ast.ClassDef) and node.name == name:
            found = Member(name, node, doc, _class_code(node), "class")
            found.members = list(_members(getattr(importlib.import_module(module), name)))
            return found
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return Member(name, node, doc, _signature(node, name), "function")
        if name in _targets(node):
            return Member(name, node, doc, ast.unparse(node), "value")
    raise LookupError(f"{module} defines no '{name}'")


def _members(cls: type) -> Iterator[Member]:
    """The public members of a class and of its bases in the framework, the class's own first."""
    seen: set[str] = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("coupling.") or (base is not cls and issubclass(cls, Exception)):
            continue
        body = next(n for n in _tree(base.__module__).body if getattr(n, "name", "") == base.__name__).body
        for node, doc in _documented(body):
            for name in _targets(node):
                if name in seen or (name.startswith("_") and name not in SPECIAL):
                    continue
                if cls.__name__ == CONFIGURATION and not isinstance(node, ast.FunctionDef):
                    continue
                seen.add(name)
                yield _member(f"{cls.__name__}.{name}", name, node, doc)


def _member(full: str, name: str, node: ast.AST, doc: str) -> Member:
    if not isinstance(node, ast.FunctionDef):
        return Member(full, node, doc, ast.unparse(node), "attribute")
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    if decorators & {"property", "cached_property", "functools.cached_property"}:
        returns = f": {ast.unparse(node.returns)}" if node.returns else ""
        return Member(full, node, doc, f"{name}{returns}", "property")
    return Member(full, node, doc, _signature(node, name), "method")


@cache
def _tree(module: str) -> ast.Module:
    path = inspect.getsourcefile(importlib.import_module(module))
    assert path is not None
    return ast.parse(Path(path).read_text(encoding="utf-8"))


def _documented(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """Each definition with its docstring; that of an assignment is the string after it."""
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node, ast.get_docstring(node) or ""
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            text = following.value if isinstance(following, ast.Expr) else None
            held = text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else ""
            yield node, inspect.cleandoc(held)


def _targets(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
    parts = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return [part.id for part in parts if isinstance(part, ast.Name)]


class _Plain(ast.NodeTransformer):
    """Options without their bounds and descriptions: ``Annotated[int, Field(...)]`` becomes ``int``."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == "Annotated" and isinstance(node.slice, ast.Tuple):
            return node.slice.elts[0]
        return node


def _signature(node: ast.FunctionDef, name: str) -> str:
    plain = _Plain().visit(ast.parse(ast.unparse(node.args and node)).body[0])
    parameters = [p for p in _parameters(plain.args) if p not in ("self", "cls")]
    returns = f" -> {ast.unparse(plain.returns)}" if plain.returns and name != "__init__" else ""
    line = f"{name}({', '.join(parameters)}){returns}"
    if len(line) <= 100 or not parameters:
        return line
    return f"{name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){returns}"


def _parameters(arguments: ast.arguments) -> list[str]:
    """The parameters of a function, each as it is written."""
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults))
    written = [_parameter(a, d) for a, d in zip(plain, [*defaults, *arguments.defaults], strict=True)]
    if arguments.posonlyargs:
        written.insert(len(arguments.posonlyargs), "/")
    if arguments.vararg:
        written.append("*" + _parameter(arguments.vararg, None))
    elif arguments.kwonlyargs:
        written.append("*")
    written += [_parameter(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return [*written, "**" + _parameter(arguments.kwarg, None)] if arguments.kwarg else written


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    annotation = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    sign = " = " if annotation else "="
    return argument.arg + annotation + (f"{sign}{ast.unparse(default)}" if default is not None else "")


def _class_code(node: ast.ClassDef) -> str:
    """``class Name(Base)``, with the parameters of the constructor where the class has its own."""
    bases = [ast.unparse(base) for base in node.bases]
    head = f"class {node.name}" + (f"({', '.join(bases)})" if bases else "")
    constructor = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if constructor is None or _signature(constructor, node.name) == f"{node.name}()":
        return head
    return f"{head}\n{_signature(constructor, node.name)}"
