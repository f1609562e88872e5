"""Files that users bring: their checksum, taken once, and what they may be called instead."""

import hashlib
import os

import pytest

from coupling.errors import DataError
from coupling.system.checksums import md5_of, similar_file

CONTENT = bytes(range(256)) * 40_000  # more than one piece
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def path(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path / "file"


def test_the_checksum_is_taken_once(path, tmp_path, capfd):
    note = tmp_path / "notes" / "verified.json"
    assert [md5_of(path, MD5, note) for _ in range(3)] == [MD5] * 3
    assert capfd.readouterr().err.count(f"Checking {path}: done") == 1
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(1, 1))
    assert md5_of(path, MD5, note) == hashlib.md5(CONTENT[::-1]).hexdigest()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no time of the entry")
def test_another_content_of_equal_size_and_time_is_read_again(path, tmp_path):
    times = path.stat()
    assert md5_of(path, MD5, tmp_path / "note") == MD5
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert md5_of(path, MD5, tmp_path / "note") == hashlib.md5(CONTENT[::-1]).hexdigest()


def test_another_checksum_is_not_noted(path, tmp_path):
    assert md5_of(path, "0" * 32, tmp_path / "note") == MD5
    assert not (tmp_path / "note").exists()


def test_damaged_and_unwritable_notes_are_ignored(path, tmp_path):
    (tmp_path / "note").write_bytes(b"\xff{")
    assert md5_of(path, MD5, tmp_path / "note") == MD5
    assert md5_of(path, MD5, path / "note") == MD5  # below a file


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="file: cannot be read: No such file"):
        md5_of(tmp_path / "file", MD5, tmp_path / "note")


def test_a_similar_file_is_named_in_the_hint(path, tmp_path):
    assert similar_file(tmp_path, "images.zip", len(CONTENT)) == ", but 'file' has its size: rename it"
    assert similar_file(tmp_path, "files", 1) == "; did you mean 'file'? Rename it if it is the official file"
    assert similar_file(tmp_path, "files", 1, ["file"]) == similar_file(tmp_path, "images.zip", 1) == ""
    assert similar_file(tmp_path / "none", "files", 1) == ""
