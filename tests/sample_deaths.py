"""Draws that are killed everywhere, each in a process forked from one that has imported torch.

``python -m tests.sample_deaths RUN FOLDER KIND`` draws 10 samples in parts of 4 in one go, and then again and again:
killed before its n-th file operation or after its n-th image, whichever is counted, and gone on with. Prints, as JSON,
a row a kill: what it was killed at, the exit code, how many samples were said to be written, whether what resulted is
the same, byte for byte.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from coupling import sampling
from coupling.model import load_model
from coupling.selection import Selection
from tests import tiny

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


def die_at_image(number):
    """With what came before it in a file, but not yet on its way there."""
    left, turn, samples = [number + 1], threading.Lock(), sampling._samples

    def counted(portion):
        for images in samples(portion):
            with turn:
                left[0] -= 1
                if left[0] == 0:
                    die()
            yield images

    sampling._samples = counted


def main(run, folder, kind):
    sampling.PART = 4
    selection = Selection(load_model(run, plugins=tiny.plugins()), seed=3, keep=0.01)  # 3 of a block: parts end in one

    def draw(root):
        sampling.write_samples(selection, root, 10, kind, 4 if kind == "webdataset" else None)

    draw(folder / "whole")
    whole = content(folder / "whole")
    for what in ("operation", "image"):
        number, code = 0, -9
        while code == -9:
            root = folder / f"{what}-{number}"
            child = os.fork()
            if child == 0:
                if what == "operation":
                    die_at_operation(number, root)
                else:
                    die_at_image(number)
                draw(root)
                os._exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            manifest = root / sampling.MANIFEST
            written = json.loads(manifest.read_text())["written"] if manifest.exists() else 0
            draw(root)
            same = content(root) == whole
            print(json.dumps({"what": what, "number": number, "code": code, "written": written, "same": same}))
            number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
