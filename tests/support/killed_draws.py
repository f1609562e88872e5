"""Draws that are killed everywhere, each in a process forked from one that has imported torch.

``python -m tests.support.killed_draws RUN FOLDER`` draws 7 samples in parts of 3, in every format: once without a
break, then again and again, killed before its n-th file operation or after its n-th image, and continued. It prints,
as JSON, a row for each kill: the format, what it was killed at, the exit code, how many samples were reported as
written, and whether the result is the same, byte for byte.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from coupling.api import load_model
from coupling.generation import samples
from coupling.generation.manifest import FILE as MANIFEST
from coupling.generation.sample_files import FORMATS
from coupling.generation.selection import Selection
from tests.support import tiny_plugin as tiny

_CHANGES = ("os.mkdir", "os.rename", "os.remove", "open")


def content(root):
    """All files, hidden ones too."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_operation(number, root):
    left = [number + 1]

    def hook(event, arguments):
        if event in _CHANGES and str(arguments[0]).startswith(str(root)):
            left[0] -= 1
            if left[0] == 0:
                die()

    sys.addaudithook(hook)


def die_at_image(number, root):
    left, put = [number + 1], samples._write_portion

    def counted(add, first, images):
        def add_one(*image):
            add(*image)
            left[0] -= 1
            if left[0] == 0:
                die()

        return put(add_one, first, images)

    samples._write_portion = counted


def main(run, folder):
    samples.PART = samples.SHARD = 3
    selection = Selection(load_model(run, plugins=tiny.plugins()), seed=3, keep=2 / 256)  # parts end within a block

    def draw(root, kind):
        samples.write_samples(selection, root, 7, kind)

    for kind in FORMATS:
        draw(folder / kind, kind)
        whole = content(folder / kind)
        for what, die_at in (("operation", die_at_operation), ("image", die_at_image)):
            number, code = 0, -9
            while code == -9:
                root = folder / f"{kind}-{what}-{number}"
                child = os.fork()
                if child == 0:
                    die_at(number, root)
                    draw(root, kind)
                    os._exit(0)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                manifest = root / MANIFEST
                written = json.loads(manifest.read_text())["written"] if manifest.exists() else 0
                draw(root, kind)
                row = {"kind": kind, "what": what, "number": number, "code": code, "written": written}
                print(json.dumps(row | {"same": content(root) == whole}))
                number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
