"""What users and plugins rely on: hooks, public names, keys of configurations, components and their options.

    python docs/contract.py

writes it to contract.json: do this once for each release, when the changes since the last one are in CHANGELOG.md. A
test compares the file with the source. What is new must be in the changelog's newest section. What is gone, or takes
other arguments than before, must be under "Removed" there, and under "Deprecated" in an earlier release's section.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coupling import hookspecs
from coupling.config.config import Config
from coupling.plugins import Plugins

DOCS = Path(__file__).parent
sys.path.append(str(DOCS))  # for the modules beside this one, also if a test loads it from its file

from public_names import public_names  # noqa: E402  (found only now)

FILE = DOCS / "contract.json"


def contract() -> dict[str, list[str]]:
    """Everything that users rely on, by kind and name, with what it takes: arguments or values."""
    return dict(sorted([*_hooks(), *_names(), *_keys(), *_components()]))


def _hooks() -> Iterator[tuple[str, list[str]]]:
    for name, value in vars(hookspecs).items():
        if hasattr(value, "coupling_spec"):
            yield f"hook {name}", list(inspect.signature(value).parameters)


def _names() -> Iterator[tuple[str, list[str]]]:
    for members in public_names().values():
        for member in members:
            for one in (member, *member.members):
                yield f"name {one.name}", [] if one.kind == "class" and one.options else one.parameters


def _keys() -> Iterator[tuple[str, list[str]]]:
    schema = Config.model_json_schema()
    yield from _below(schema, "", schema["$defs"])


def _below(schema: Mapping[str, Any], path: str, definitions: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The keys below a part of the schema: ``key training.ema``, ``key domains.NAME.dataset``, ``losses.i.name``."""
    if "$ref" in schema:
        yield from _below(definitions[schema["$ref"].rpartition("/")[2]], path, definitions)
    for part in schema.get("anyOf", ()):
        yield from _below(part, path, definitions)
    inner = {f"{path}{key}": value for key, value in schema.get("properties", {}).items()}
    for key, value in inner.items():
        yield f"key {key}", _choices(value)
    below = inner | {f"{path}i": schema.get("items"), f"{path}NAME": schema.get("additionalProperties")}
    for key, value in below.items():
        if isinstance(value, Mapping):
            yield from _below(value, f"{key}.", definitions)


def _components() -> Iterator[tuple[str, list[str]]]:
    for (kind, name), component in Plugins(entry_points=False).registry.components.items():
        yield f"{kind} {name}", []
        for option, value in component.options.model_json_schema().get("properties", {}).items():
            yield f"option {kind} {name} {option}", _choices(value)


def _choices(schema: Mapping[str, Any]) -> list[str]:
    """The values between which one chooses."""
    found = schema.get("enum", [])
    return [str(value) for value in found] or [c for part in schema.get("anyOf", []) for c in _choices(part)]


def problems(old: Mapping[str, list[str]], new: Mapping[str, list[str]], changelog: str) -> list[str]:
    """What changed from ``old`` to ``new`` and is not in the changelog as it must be."""
    newest, *released = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    removed = _under("Removed", [newest])
    deprecated = _under("Deprecated", released)
    found = []
    for entry in new:
        if (parent := _parent(entry)) in new and parent not in old:
            continue  # a line on the component, class or section is enough
        if lacking := [word for word in _words(entry, old.get(entry), new[entry]) if not _mentions(newest, word)]:
            found.append(f"{entry}: is new, and the newest section of CHANGELOG.md does not have `{lacking[0]}`")
    for entry, before in old.items():
        gone = [entry.split()[-1]] if entry not in new else [part for part in before if part not in new[entry]]
        for word in gone:
            what = "is gone" if entry not in new else f"no longer takes {word}"
            if not _mentions(removed, word):
                found.append(f'{entry}: {what}, and "Removed" in the newest section of CHANGELOG.md lacks `{word}`')
            elif not _mentions(deprecated, word):
                found.append(f'{entry}: {what}, but no earlier release has `{word}` under "Deprecated"')
    return found


def _parent(entry: str) -> str:
    """What an entry is part of: the component of an option, the class of a method, the section of a key."""
    kind, *names = entry.split()
    outer = names[0].rpartition(".")[0].removesuffix(".i").removesuffix(".NAME")
    return " ".join(names[:-1]) if kind == "option" else f"{kind} {outer}"


def _words(entry: str, before: list[str] | None, now: list[str]) -> list[str]:
    """The words of an entry that the changelog must have: its name, or the arguments that are new."""
    return [entry.split()[-1]] if before is None else [part for part in now if part not in before]


def _under(heading: str, sections: list[str]) -> str:
    """The text under a heading of these sections."""
    parts = [part for section in sections for part in re.split(r"^### ", section, flags=re.MULTILINE)]
    return "\n".join(part for part in parts if part.partition("\n")[0].strip() == heading)


def _mentions(text: str, word: str) -> bool:
    """Whether a text has ``word`` as code; of ``Class.method``, the last part is enough."""
    last = re.escape(word.rpartition(".")[2])
    return any(re.search(rf"(?<![\w-]){last}(?![\w-])", span) for span in re.findall(r"`([^`]+)`", text))


if __name__ == "__main__":
    FILE.write_text(json.dumps(contract(), indent=1) + "\n", encoding="utf-8")
