"""Commands on the cache of the data directory: list it, clear it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from coupling.cli.diagnosis import size_text
from coupling.cli.group import console
from coupling.cli.json_documents import json_option, print_json
from coupling.errors import InputError, RunError, nearest

if TYPE_CHECKING:
    from coupling.data.cache_entries import CacheEntry

_SHOWN = 8  # digits of an entry's name


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def cache(ctx: click.Context, as_json: bool) -> None:
    """List the decoded images and probes that are cached.

    They are in the data directory and can be made again. Remove them by: coupling cache clear.
    """
    if ctx.invoked_subcommand is not None:
        return
    from coupling.data.cache_entries import cache_entries
    from coupling.system.data_directory import data_directory

    entries, root = cache_entries(), data_directory("any").parent
    if as_json:
        print_json({"directory": root, "entries": [_plain(entry) for entry in entries]})
        return
    from coupling.cli.tables import table

    rows = table("name", "folder", "size", "changed", "content", "made of", whole=("name", "folder", "size", "changed"))
    for entry in entries:
        day = time.strftime("%Y-%m-%d", time.localtime(entry.modified))
        source = f"{entry.source} (no longer there)" if entry.is_gone else entry.source
        rows.add_row(entry.name[:_SHOWN], entry.folder, size_text(entry.size), day, entry.content, source)
    if entries:
        console().print(rows)
    click.echo(f"{root}: {len(entries)} entries, {size_text(sum(entry.size for entry in entries))}")


@cache.command()
@click.argument("names", nargs=-1, metavar="[NAME|FOLDER]...")
@click.option("--gone", is_flag=True, help="Only entries whose folder or zip of images is no longer there.")
def clear(names: tuple[str, ...], gone: bool) -> None:
    """Remove entries of the cache, by default all.

    Give names of entries or of folders to remove only these. Downloaded data and your own data stay.
    """
    from coupling.data.cache_entries import cache_entries

    chosen = [entry for entry in _chosen(cache_entries(), names) if entry.is_gone or not gone]
    freed, kept = 0, []
    for entry in chosen:
        size, holder = entry.size, entry.holder()
        try:
            if holder is None:
                entry.remove()
                freed += size
                continue
        except OSError as error:
            holder = error.strerror or str(error)
        kept.append(f"{entry.folder}/{entry.name}: {holder}")
    click.echo(f"removed {len(chosen) - len(kept)} entries, {size_text(freed)}")
    if kept:
        raise RunError(f"{len(kept)} entries are in use or cannot be removed:\n  " + "\n  ".join(kept))


def _chosen(entries: Sequence[CacheEntry], names: Sequence[str]) -> list[CacheEntry]:
    """The entries with these names, or in the folders with these names; without names, all."""
    for name in names:
        if not any(_is_meant(entry, name) for entry in entries):
            known = [*{entry.folder: None for entry in entries}, *(entry.name[:_SHOWN] for entry in entries)]
            hint = nearest(name, known) if known else "the cache is empty"
            raise InputError(f"cache clear: no entry or folder is called '{name}'; {hint}")
    return [entry for entry in entries if not names or any(_is_meant(entry, name) for name in names)]


def _is_meant(entry: CacheEntry, name: str) -> bool:
    return name == entry.folder or (len(name) >= _SHOWN and entry.name.startswith(name))


def _plain(entry: CacheEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "folder": entry.folder,
        "bytes": entry.size,
        "content": entry.content,
        "source": entry.source,
        "gone": entry.is_gone,
        "files": entry.files,
    }
