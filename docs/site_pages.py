"""What the site has in place of, or besides, the Markdown that GitHub shows.

The contents at the side come from the tables of index.md, the API reference from the docstrings by autodoc, and the
options of the commands from the commands. Links to files that are not part of the site lead to the repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from public_names import Member, public_names
from reference_page import INTRODUCTION
from sphinx.ext.napoleon import Config, GoogleDocstring

DOCS = Path(__file__).parent
REPOSITORY = "https://github.com/coupling-gan/coupling"
NAPOLEON = Config(napoleon_use_rtype=False)


def for_the_site(app: object, page: str, source: list[str]) -> None:
    """Change the Markdown of a page, ``source[0]``, as the site needs it (Sphinx's event source-read)."""
    text = source[0]
    if page == "index":
        text += contents(text)
    elif page == "reference":
        text = api_reference()
    elif page == "command-line":
        text += every_option()
    source[0] = repository_links(text)


def repository_links(text: str) -> str:
    """The text, with links to files outside the site as addresses of the repository."""

    def replaced(link: re.Match[str]) -> str:
        path = (DOCS / link["path"]).resolve()
        inside = path.is_relative_to(DOCS) and (path.suffix == ".md" or path.parent.name == "pictures")
        if inside and "plugin-example" not in path.parts:
            return link[0]
        kind = "tree" if path.is_dir() else "blob"
        return f"]({REPOSITORY}/{kind}/main/{path.relative_to(DOCS.parent)}{link['anchor'] or ''})"

    return re.sub(r"\]\((?P<path>(?![a-z]+:|#)[^)\s#]+)(?P<anchor>#[^)\s]*)?\)", replaced, text)


def contents(index: str) -> str:
    """The contents at the side: the pages of each table of index.md under the table's heading."""
    lists = []
    for section in index.split("\n## ")[1:]:
        title, _, table = section.partition("\n")
        pages = re.findall(r"^\| \[[^\]]+\]\(([\w-]+)\.md\)", table, flags=re.MULTILINE)
        lists.append("\n".join(["```{toctree}", ":hidden:", f":caption: {title.partition(':')[0]}", "", *pages, "```"]))
    return "\n\n" + "\n\n".join(lists) + "\n"


def api_reference() -> str:
    """The page of all public names, each by autodoc from its docstring."""
    parts = [INTRODUCTION]
    for (title, sentence), members in public_names().items():
        module = "coupling.testing" if title == "Tests" else "coupling"
        parts += [f"## {title}", sentence]
        for member in members:
            parts += [f"### `{member.name}`", "```{eval-rst}\n" + "\n".join(_directive(member, module)) + "\n```"]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _directive(member: Member, module: str) -> Iterator[str]:
    if member.kind == "value":  # autodoc finds no docstring of a name that another module defines
        yield f".. py:data:: {member.name}\n   :module: {module}\n"
        lines = member.doc.splitlines()
        google_docstring(None, "data", member.name, None, None, lines)
        yield from (f"   {line}" for line in lines)
        return
    yield f".. auto{member.kind}:: {module}.{member.name}"
    names = [inner.name.partition(".")[2] for inner in member.members if inner.doc]
    if names:
        yield f"   :members: {', '.join(names)}"
        special = [name for name in names if name.startswith("__")]
        if special:
            yield f"   :special-members: {', '.join(special)}"


def every_option() -> str:
    """The section of all commands with their options, as their ``--help`` has them."""
    from coupling.cli import cli

    directive = [".. click:: coupling.cli:cli", "   :prog: coupling", "   :nested: full"]
    directive.append(f"   :commands: {','.join(cli.commands)}")
    return "\n## Every option\n\n```{eval-rst}\n" + "\n".join(directive) + "\n```\n"


class _Docstring(GoogleDocstring):
    """A docstring in which what stands before a colon is not a type: not in ``Returns`` nor in an attribute."""

    def __init__(self, lines: list[str], what: str) -> None:
        super().__init__(lines, NAPOLEON, what="function" if what in ("attribute", "data", "property") else what)

    def _consume_returns_section(self, preprocess_types: bool = False) -> list[tuple[str, str, list[str]]]:
        return [("", "", self._dedent(self._consume_to_next_section()))]


def google_docstring(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    r"""Turn a docstring in Google style into reStructuredText (Sphinx's event autodoc-process-docstring).

    A ``*`` outside of code, as in (B, \\*shape), is escaped.
    """
    for number, line in enumerate(converted := _Docstring(lines, what).lines()):
        parts = re.split(r"(``.+?``|`[^`]+`)", line)
        converted[number] = "".join(p if p.startswith("`") else re.sub(r"(?<!\\)\*", r"\\*", p) for p in parts)
    lines[:] = converted
