"""Parts of a pool: a function of the seed and of what the samples are, the same on every machine."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coupling.config.config import Config
from coupling.data.domain_data import open_domains
from coupling.data.images.files import identities_of
from coupling.data.images.folder import ImageFolder
from coupling.data.pool import Pool
from coupling.errors import ConfigError, DataError, PluginError, ProgramError
from coupling.plugins import Plugins
from tests.support import tiny_plugin as tiny

NAMES = (
    "a.png", "b.png", "c/1.png", "c/2.png", "c/10.png", "d/e/f.jpg", "Z.png", "\u00e9.png", "\u65e5\u672c.png",
    "with space.png", "x-1.png", "x_1.png",
)  # fmt: skip
BUILT_IN = Plugins(entry_points=False)
GROUPS = np.array([0, 0, 1, 1, 1, 2, 3, 3, 4, 4, 5, 5])

# Never to change: the same seed would mean another run.
PARTS = {
    (0, 1, 2): ["a.png", "b.png", "c/1.png", "c/10.png", "with space.png", "x_1.png"],
    (0, 2, 2): ["Z.png", "c/2.png", "d/e/f.jpg", "x-1.png", "\u00e9.png", "\u65e5\u672c.png"],
    (1, 1, 2): ["c/10.png", "c/2.png", "d/e/f.jpg", "with space.png", "x_1.png", "\u65e5\u672c.png"],
    (0, 1, 3): ["b.png", "c/1.png", "with space.png", "x_1.png"],
    (0, 2, 3): ["a.png", "c/10.png", "x-1.png", "\u00e9.png"],
    (0, 3, 3): ["Z.png", "c/2.png", "d/e/f.jpg", "\u65e5\u672c.png"],
}
"""Names in part k of n, by (seed, k, n)."""


def named(names=NAMES, groups=None):
    return Pool("anywhere", len(names), tuple(names), groups)


def numbered(count=12, source="mnist/train"):
    return Pool(source, count, None, None)


def names_in(pool, seed, k, n):
    return [pool.identities[number] for number in pool.part(seed, (k, n))]


def slow_part(names, seed, k, n):
    """The rule in one line a step: sort by a hash, take a share, sort by name."""
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}\0parts\0{name}".encode()).digest())
    return sorted(order[len(names) * (k - 1) // n : len(names) * k // n])


@pytest.mark.parametrize(("key", "expected"), PARTS.items(), ids=str)
def test_the_parts_of_named_samples_are_these(key, expected):
    assert names_in(named(), *key) == expected == slow_part(NAMES, *key)


@pytest.mark.parametrize(
    ("seed", "k", "expected"),
    [(0, 1, [0, 1, 2, 6, 9, 10]), (0, 2, [3, 4, 5, 7, 8, 11]), (7, 1, [0, 2, 4, 6, 10, 11])],
)
def test_the_parts_of_numbered_samples_are_these(seed, k, expected):
    """Official data sets are cut as earlier versions cut them."""
    assert numbered().part(seed, (k, 2)).tolist() == expected


def test_the_parts_of_groups_are_these():
    grouped = named(groups=GROUPS)
    expected = ["a.png", "b.png", "c/1.png", "c/10.png", "c/2.png", "with space.png", "\u65e5\u672c.png"]
    assert names_in(grouped, 0, 1, 2) == expected
    assert sorted(expected + names_in(grouped, 0, 2, 2)) == sorted(NAMES)


def test_the_folds_and_digests_are_these():
    assert named().folds("probe", 5).tolist() == [3, 3, 4, 4, 1, 1, 3, 3, 0, 1, 3, 4]
    assert numbered().folds("probe", 5).tolist() == [2, 1, 0, 3, 1, 4, 0, 4, 2, 1, 0, 3]
    every = np.arange(12)
    assert named().digest(every) == "546dd928170182ea1b4f93641ec92cdd0be969811c65d048d85c62c37994b810"
    assert named().digest(every) == hashlib.sha256("".join(f"{n}\n" for n in sorted(NAMES)).encode()).hexdigest()
    assert numbered().digest(every) == "727d1b30a951d734bb37204a380baeb04e54f5dcd4ab3571076ec0b850d01a67"


names = st.lists(
    st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=8), min_size=1, max_size=30, unique=True
)


@given(names, st.randoms(use_true_random=False), st.integers(0, 3), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_a_cut_depends_on_the_names_alone(names, source, seed, n):
    one = named(names)
    other = Pool("elsewhere", len(names), tuple(source.sample(names, len(names))), None)
    parts = [names_in(one, seed, k, n) for k in range(1, n + 1)]
    assert parts == [names_in(other, seed, k, n) for k in range(1, n + 1)]
    assert sorted(name for part in parts for name in part) == sorted(names)
    folds = [dict(zip(made.identities, made.folds("probe", 5).tolist(), strict=True)) for made in (one, other)]
    assert folds[0] == folds[1]
    assert one.key == other.key


@given(names, st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_a_further_sample_moves_few_others(names, seed):
    """A cut that is drawn by position would be another altogether."""
    before, after = (set(names_in(named(made), seed, 1, 2)) for made in (names, [*names, "one more sample"]))
    assert len(before - after) <= 1


@given(st.lists(st.integers(0, 6), min_size=12, max_size=12), st.integers(1, 4), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_groups_stay_whole(groups, n, seed):
    made = named(groups=np.unique(groups, return_inverse=True)[1])
    parts = [set(made.part(seed, (k, n)).tolist()) for k in range(1, n + 1)]
    assert sorted(number for part in parts for number in part) == list(range(12))
    assert all(len({groups[i] for i in a} & {groups[i] for i in b}) == 0 for a in parts for b in parts if a is not b)


# -- names of files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_names", "expected"),
    [
        (["a.png", "b/c.png"], ["a.png", "b/c.png"]),
        (["x/a.png", "x/b/c.png"], ["a.png", "b/c.png"]),  # a zip of the folder x, say
        (["x/y/a.png"], ["a.png"]),
        (["./a.png", "b//c.png"], ["a.png", "b/c.png"]),
        (["x/a.png", "xy/b.png"], ["x/a.png", "xy/b.png"]),
        (["e\u0301.png", "b.png"], ["\u00e9.png", "b.png"]),  # as macOS stores it
        (["e\u0301.png", "\u00e9.png"], ["e\u0301.png", "\u00e9.png"]),  # two files stay two
        ([], []),
    ],
)
def test_identities_are_the_same_on_every_system(given_names, expected):
    assert identities_of(given_names) == expected


# -- folders -----------------------------------------------------------------------------------------


def fill(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode("utf-8", "surrogatepass"))
    return root


def halves(path, **options):
    """Names of the samples of two domains that share the images of ``path``; nothing is decoded."""
    entry = {"name": "image-folder", "path": str(path), "size": 8, **options}
    values = tiny.values() | {"domains": {d: {"dataset": dict(entry)} for d in "ab"}}
    made = open_domains(Config.model_validate(values), BUILT_IN.registry)
    return [[data.pool.identities[number] for number in data.indices] for data in made.values()]


@pytest.fixture
def shuffled_listing(monkeypatch):
    """Let the system list the files of folders in another order at each call."""
    scan, source = os.scandir, random.Random(5)

    class Shuffled:
        def __init__(self, path="."):
            with scan(path) as entries:
                self.entries = list(entries)
            source.shuffle(self.entries)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            return None

        def __iter__(self):
            return iter(self.entries)

    monkeypatch.setattr(os, "scandir", Shuffled)


def test_a_folder_is_cut_as_the_list_says(tmp_path):
    assert halves(fill(tmp_path / "here", NAMES)) == [PARTS[0, 1, 2], PARTS[0, 2, 2]]


@pytest.mark.usefixtures("shuffled_listing")
def test_the_order_of_listing_does_not_matter(tmp_path):
    for place in ("one", "two", "three"):
        assert halves(fill(tmp_path / place, NAMES)) == [PARTS[0, 1, 2], PARTS[0, 2, 2]]


def test_the_place_does_not_matter(tmp_path, monkeypatch):
    first = fill(tmp_path / "here", NAMES)
    copy = shutil.copytree(first, tmp_path / "there" / "deep" / "copy")
    (tmp_path / "link").symlink_to(first)
    monkeypatch.chdir(tmp_path)
    for path in (first, copy, tmp_path / "link", "here", "./there/deep/copy"):
        assert halves(path) == [PARTS[0, 1, 2], PARTS[0, 2, 2]]


@pytest.mark.parametrize("separator", ["/", "\\"])
@pytest.mark.parametrize("prefix", ["", "pictures/", "./"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_zips_of_other_systems_are_cut_alike(tmp_path, separator, prefix, form):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in random.Random(3).sample(NAMES, len(NAMES)):
            info = zipfile.ZipInfo()
            info.filename = unicodedata.normalize(form, prefix + name).replace("/", separator)  # as it is
            archive.writestr(info, b"not decoded here")
    assert halves(tmp_path / "x.zip") == [PARTS[0, 1, 2], PARTS[0, 2, 2]]


def test_a_folder_of_decomposed_names_is_cut_alike(tmp_path):
    made = halves(fill(tmp_path / "mac", [unicodedata.normalize("NFD", name) for name in NAMES]))
    assert made == [PARTS[0, 1, 2], PARTS[0, 2, 2]]


file_names = st.lists(
    st.from_regex(r"\A[a-zA-Z\u00e0-\u00ff0-9_ -]{1,6}(/[a-z0-9]{1,3}){0,2}\Z"), min_size=2, max_size=12, unique=True
)


@given(file_names, st.integers(0, 2))
@settings(max_examples=25, deadline=None)
def test_any_folder_is_cut_alike_in_every_place(names, seed):
    files = sorted({f"x{name}.d/{number}.png" for number, name in enumerate(names)})
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        made = [halves(fill(Path(place).resolve() / "in", files)) for place in (one, other)]
    assert made[0] == made[1]
    assert sorted(made[0][0] + made[0][1]) == sorted(identities_of(files))


# -- what data sets answer ---------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [["a"] * 33, ["a", "b"], [str(n) for n in range(34)]])
def test_identities_are_one_unique_text_a_sample(monkeypatch, wrong):
    monkeypatch.setattr(tiny.Tiny, "identities", lambda self: wrong)
    with pytest.raises(PluginError, match="identities are one unique text a sample, or None"):
        open_domains(tiny.config(), tiny.plugins().registry)


def test_domains_of_one_source_name_its_samples_alike(monkeypatch):
    calls = iter(range(100))
    monkeypatch.setattr(tiny.Tiny, "identities", lambda self: [f"{next(calls)}-{n}" for n in range(33)])
    with pytest.raises(DataError, match="name one source, 'tiny:pool', but not the same samples in the same order"):
        open_domains(tiny.config(), tiny.plugins().registry)


def test_a_data_set_may_not_change_its_length_in_prepare(monkeypatch):
    made = open_domains(tiny.config(), tiny.plugins().registry)["a"]

    def prepare(self):
        self.samples = self.samples[1:]

    monkeypatch.setattr(tiny.Tiny, "prepare", prepare)
    with pytest.raises(PluginError, match=r"had 33 samples before prepare\(\), .* and has 32 after it"):
        made.prepare()


def test_a_data_set_that_counts_in_prepare_is_prepared_before_it_is_cut(monkeypatch):
    def length(self):
        if not hasattr(self, "ready"):
            raise ProgramError("too early")
        return len(self.samples) - 1

    monkeypatch.setattr(tiny.Tiny, "counted_by_prepare", True, raising=False)
    monkeypatch.setattr(tiny.Tiny, "__len__", length)
    monkeypatch.setattr(tiny.Tiny, "prepare", lambda self: setattr(self, "ready", True))
    entered = []

    class First:
        def __enter__(self):
            entered.append(True)

        def __exit__(self, *error):
            return None

    made = open_domains(tiny.config(), tiny.plugins().registry, First)
    assert [len(data) for data in made.values()] == [16, 16]
    assert entered == [True]


def test_asking_too_early_is_an_error_of_the_program_not_of_the_user(monkeypatch):
    monkeypatch.setattr(tiny.Tiny, "__len__", lambda self: (_ for _ in ()).throw(ProgramError("too early")))
    with pytest.raises(ProgramError, match="too early"):
        open_domains(tiny.config(), tiny.plugins().registry)


# -- classes -----------------------------------------------------------------------------------------


def class_domains(tmp_path, *classes):
    domains = {}
    for number, names in enumerate(classes):
        root = fill(tmp_path / f"d{number}", [f"{name}/{number}{copy}.png" for name in names for copy in "xy"])
        domains[f"d{number}"] = {"dataset": {"name": "image-folder", "path": str(root), "size": 8, "classes": names}}
    values = tiny.values() | {"domains": domains, "sharing": {}}
    return open_domains(Config.model_validate(values), BUILT_IN.registry)


def test_a_class_has_one_number_in_all_domains(tmp_path):
    one, other, third = class_domains(tmp_path, ["car", "dog", "horse"], ["horse", "car"], ["owl", "dog"]).values()
    assert one.classes == other.classes == ("car", "dog", "horse", "owl")
    assert one.labels(range(6)).tolist() == [0, 0, 1, 1, 2, 2]
    assert other.labels(range(4)).tolist() == [0, 0, 2, 2]  # car, horse
    assert third.dataset.labels.tolist() == [1, 1, 3, 3]


def test_a_class_may_be_empty_in_a_domain(tmp_path):
    root = fill(tmp_path / "few", ["car/1.png"])
    made = ImageFolder(path=str(root), size=8, classes=["dog", "car"])
    assert made.class_counts() == {"dog": 0, "car": 1}
    assert made.labels.tolist() == [1]


def test_other_data_of_a_domain_have_the_domains_classes(tmp_path):
    one = class_domains(tmp_path, ["car", "dog"], ["dog", "owl"])["d0"]
    root = fill(tmp_path / "more", ["owl/1.png", "dog/1.png"])
    entry = {"name": "image-folder", "path": str(root), "size": 8, "classes": ["owl", "dog"]}
    assert one.on(entry, "probe").dataset.labels.tolist() == [1, 2]


# -- what does not belong in a folder ------------------------------------------------------------------


def test_runs_sweeps_and_caches_are_no_samples(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COUPLING_DATA", str(tmp_path / "cache"))
    fill(
        tmp_path,
        [
            "a.png", "b/config.yaml", "b/c.png",  # a folder with a configuration is none of a run
            "runs/x-001/config.yaml", "runs/x-001/checkpoints/step-1/model.safetensors", "runs/x-001/samples/1.png",
            "sweeps/s/sweep.yaml", "sweeps/s/table.md", "sweeps/s/figure.png", "cache/celeba/1.png",
        ],
    )  # fmt: skip
    made = ImageFolder(path=str(tmp_path), size=8)
    assert made.identities() == ["a.png", "b/c.png"]
    assert made._files.ignored["run directory"] == made._files.ignored["sweep directory"] == 1
    assert made._files.ignored["data directory"] == 1
    # Images that lie in the data directory are read where the user names it, and so are those of a run.
    assert len(ImageFolder(path=str(tmp_path / "cache"), size=8)) == 1
    assert len(ImageFolder(path=str(tmp_path / "runs" / "x-001" / "samples"), size=8)) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_named_pipes_are_never_opened(tmp_path):
    fill(tmp_path, ["a.png"])
    os.mkfifo(tmp_path / "b.png")
    made = ImageFolder(path=str(tmp_path), size=8)
    assert made.identities() == ["a.png"]
    assert made._files.ignored["special"] == 1
    (tmp_path / "only").mkdir()
    os.mkfifo(tmp_path / "only" / "b.png")
    with pytest.raises(DataError, match="holds no images"):
        ImageFolder(path=str(tmp_path / "only"), size=8)
    with pytest.raises(ConfigError, match="is a special file; images come from a folder or a zip"):
        ImageFolder(path=str(tmp_path / "b.png"), size=8)


def test_batches_read_a_domain_in_the_order_of_names(tmp_path):
    made = Pool("x", 4, ("d", "a", "c", "b"), None)
    assert made.part(0, (1, 1)).tolist() == [1, 3, 2, 0]
    assert torch.equal(torch.from_numpy(made.ordered(np.array([0, 1]))), torch.tensor([1, 0]))
