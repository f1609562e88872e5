"""The page reference.md: every public name with its signature and docstring."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from public_names import Member, public_names

INTRODUCTION = """\
# API reference

<!-- made by docs/generate.py from the docstrings -->

Import these names from `coupling`, and those of the last section from `coupling.testing`. All other modules are
internal and can change in any release. [Bring your own domains](bring-your-own-domains.md) shows the names in use.

In shapes, B is the number of samples and `*shape` the shape of one sample of a domain: (channels, height, width) for
images. Samples are float32 tensors in the range of their domain.
"""

PARAMETERS, RESULTS = ("Args", "Raises"), ("Returns", "Yields")
TITLES = {"Args": "Parameters", "Raises": "Raises", "Returns": "Returns", "Yields": "Yields"}


def reference() -> str:
    """The whole page."""
    groups = public_names()
    contents = [f"- **{title}**: " + ", ".join(f"[`{m.name}`](#{_anchor(m.name)})" for m in members)
                for (title, _), members in groups.items()]  # fmt: skip
    parts = [INTRODUCTION, "\n".join(contents)]
    for (title, sentence), members in groups.items():
        parts += [f"## {title}", sentence]
        for member in members:
            parts += _entry(member)
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _anchor(name: str) -> str:
    return re.sub(r"[^\w\- ]", "", name.lower())


def _entry(member: Member) -> Iterator[str]:
    yield f"### `{member.name}`"
    yield f"```python\n{member.code}\n```"
    yield markdown(member.doc)
    if member.options:
        yield "**Options:**\n\n" + "\n".join(f"- `{name}`: {_line(text)}" for name, text in member.options.items())
    values = [m for m in member.members if m.kind in ("attribute", "property") and m.doc]
    if values:
        yield "\n".join(f"- `{_attribute(m)}`: {_line(m.doc)}" for m in values)
    for method in member.members:
        if method.kind == "method":
            yield f"#### `{method.name}`"
            yield f"```python\n{method.code}\n```"
            yield markdown(method.doc)


def _attribute(member: Member) -> str:
    return re.sub(r"\s+", " ", member.code)


def _line(doc: str) -> str:
    return re.sub(r"\s+", " ", _inline(doc))


def markdown(doc: str) -> str:
    """A docstring in Google style as Markdown."""
    text, sections = _sections(doc)
    parts = [_paragraphs(text)]
    for name, content in sections:
        if name in RESULTS:
            parts.append(f"**{TITLES[name]}:** {_line(content)}")
        else:
            parts.append(f"**{TITLES[name]}:**\n\n" + "\n".join(_items(content, code=name == "Args")))
    return "\n\n".join(part for part in parts if part)


def _sections(doc: str) -> tuple[str, list[tuple[str, str]]]:
    """The text before the sections, and the sections."""
    text, *rest = re.split(r"^(Args|Returns|Yields|Raises):\n", doc, flags=re.MULTILINE)
    after: list[str] = []
    sections = []
    for name, content in zip(rest[::2], rest[1::2], strict=True):
        held = re.match(r"(?:(?: {4}.*)?\n?)*", content)
        assert held is not None
        sections.append((name, textwrap.dedent(held[0])))
        after.append(content[held.end() :])
    return "\n".join([text, *after]), sections


def _items(content: str, *, code: bool) -> Iterator[str]:
    """``name: text`` each, with the lines that continue it indented."""
    for item in re.split(r"\n(?=\S)", content.strip("\n")):
        name, colon, text = item.partition(":")
        yield f"- `{name}`: {_line(text)}".rstrip() if colon else f"- {_line(item)}"


def _paragraphs(text: str) -> str:
    """Paragraphs in one line each; indented blocks, lists and tables as they are."""
    parts = []
    for part in re.split(r"\n{2,}", text.strip("\n")):
        if part.startswith("    "):
            parts.append(f"```python\n{textwrap.dedent(part)}\n```")
        elif re.match(r"- ", part):
            parts.append("\n".join(f"- {_line(item)}" for item in re.split(r"(?:^|\n)- ", part) if item))
        else:
            parts.append(re.sub(r"::$", ":", _line(part)))
    return "\n\n".join(parts)


def _inline(text: str) -> str:
    """Roles and double back quotes become code."""
    text = re.sub(r":\w+:`~?(?:coupling\.)?(?:[a-z_]+\.)*([\w.]+)`", r"`\1`", text)
    text = re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)
    parts = re.split(r"(`[^`]+`)", text)  # outside of code, * and < are characters like others
    return "".join(part if part.startswith("`") else re.sub(r"([*<])", r"\\\1", part) for part in parts)
