"""YAML as configurations are written: safe, and without YAML's usual surprises."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from coupling.errors import ConfigError, nearest


class _Loader(yaml.SafeLoader):
    """Safe YAML without its usual surprises.

    A key that is given twice, or is not text, is an error. 2e-4 is a number. yes, no, on, off, 010, 1:30 and 2024-01-01
    are text, as they look (an option that is a boolean or a number accepts text that stands for one).
    """

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}  # type: ignore[misc]

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.tag != "tag:yaml.org,2002:str":
                shown = f"'{key.value}'" if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise ConfigError(f"line {line}: the key {shown} is not text; if you mean it, put it in quotes")
            if key.value in seen:
                raise ConfigError(f"line {line}: '{key.value}' is given twice; use each name once")
            seen.add(key.value)
        return node


_FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9][0-9_]*\.[0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?$")


_TAGS = {
    "bool": (re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    "int": (re.compile(r"^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"), "-+0123456789"),
    "float": (_FLOAT, "-+0123456789."),
    "null": (re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "merge": (re.compile(r"^<<$"), "<"),
}


for _tag, (_pattern, _first) in _TAGS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list(_first))


class _Dumper(yaml.SafeDumper):
    """A dumper whose output :class:`_Loader` reads back unchanged: text that looks like 2e-4 gets quotes."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    """Write text, with unprintable characters escaped: unquoted, some of them would end a line and be lost."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if value.isprintable() else '"')


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list(_TAGS["float"][1]))


_Dumper.add_representer(str, _text)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; raises :class:`ConfigError` with line and column if it is not valid YAML."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(f"{where}not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}") from None


def dump_yaml(values: Any) -> str:
    """Plain values as YAML text that :func:`parse_yaml` reads back unchanged, with keys in their order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def in_yaml(value: Any) -> str:
    """A value in a message: one line, as YAML has it (``true``, ``null``, ``{first: 2}``), but text in quotes."""
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        return repr(value)
    try:
        text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=math.inf)
    except (yaml.YAMLError, RecursionError):  # a value from Python that no file can hold
        return repr(value)
    return str(text).removesuffix("\n").removesuffix("\n...")


def read_text(path: Path) -> str:
    """The text of a file; raises :class:`ConfigError` that names the file if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; {_near_files(path)}") from None
    except IsADirectoryError:
        inside = sorted(str(p) for p in path.glob("*.y*ml"))
        raise ConfigError(f"{path}: is a directory; give a file, such as {(inside or ['config.yaml'])[0]}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: line {line}: is not UTF-8 text; save it in that encoding") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _near_files(path: Path) -> str:
    """A hint on YAML files beside ``path`` and in the folder ``examples`` there; hidden files are left out."""
    folders = path.parent, path.parent / "examples"
    files = [file for folder in folders for file in sorted(folder.glob("*.y*ml")) if not file.name.startswith(".")]
    if not files:
        return f"nor is there another .yaml file in {path.parent.absolute()}"
    same_name = [file for file in files if file.name == path.name]
    return f"did you mean '{same_name[0]}'?" if same_name else nearest(str(path), map(str, files))
