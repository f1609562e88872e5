"""The report: one page that needs nothing else, whatever state the run is in."""

from __future__ import annotations

import base64
import io
import json
import shutil
from html.parser import HTMLParser

import pytest
from PIL import Image

from coupling.data.pictures import without_names
from coupling.errors import InputError
from coupling.reports.curves import panels, plotted, term_panels
from coupling.reports.report import model_of, reported_run, write_report
from coupling.runs.measured import Measured, Undefined
from coupling.runs.metrics_log import read_last_line, read_log
from coupling.training.trainer import train
from tests.conftest import TINY, rejected
from tests.support import tiny_plugin as tiny

CONFIG = ("training.steps=6", "training.log_every=2", "training.sample_every=2", "training.checkpoint_every=3")
METRIC = "metrics=[{name: brightness, every: 2}]"


class Page(HTMLParser):
    """What a browser would fetch, the sections, the pictures, and whether every element is closed."""

    VOID = ("meta", "img", "br", "link", "input")
    UNREAD = ("script", "style")

    def __init__(self, text):
        super().__init__()
        self.fetched, self.titles, self.pictures, self.open, self.text = [], [], [], [], ""
        self.rows = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        address = attributes.get("src") or attributes.get("href") or attributes.get("xlink:href") or "#"
        if address.startswith("data:image/png;base64,"):
            self.pictures.append(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))
        elif not address.startswith("#"):
            self.fetched.append(address)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    return train(tiny.config(*CONFIG, METRIC), path, plugins=tiny.plugins()).path


def page(run, file):
    plugins = tiny.plugins()
    write_report(reported_run(run, plugins), model_of(run, plugins), file, plugins)
    return Page(file.read_text())


def test_the_page_holds_everything_and_fetches_nothing(run, tmp_path):
    found = page(run, tmp_path / "report.html")
    assert found.fetched == []
    expected = ["Samples", "Traversal", "Scores", "Curves", "Sharing", "Settings", "Environment"]
    assert found.titles == expected
    with Image.open(max((run / "samples").iterdir())) as newest:
        assert found.pictures[0].tobytes() == without_names(newest, ["a", "b"]).tobytes()
    for text in ("6 of 6", "Finished", "losses of the generators", "brightness/a", "a, b", "torch", "batch_size: 4"):
        assert text in found.text, text
    summary = json.loads((run / "summary.json").read_text())
    assert f"{summary['best']['brightness/a']['value']:.4g}" in found.text


def test_ceilings_the_way_and_a_collapse_are_on_the_page(run, tmp_path):
    copied = shutil.copytree(run, tmp_path / "run")
    with (copied / "metrics.jsonl").open("a") as file:
        line = {
            "step": 6,
            "seconds": 9.0,
            "brightness/a": 0.5,
            "brightness/a/same-image": 0.7531,
            "brightness/a/way": 0.3142,
        }
        file.write(json.dumps(line) + "\n")
    summary = json.loads((copied / "summary.json").read_text())
    (copied / "summary.json").write_text(json.dumps(summary | {"collapsed": {"b": 1500}}))
    found = page(copied, tmp_path / "report.html")
    for text in ("brightness/a/same-image", "0.7531", "brightness/a/way", "0.3142", "collapsed", "b at step 1,500"):
        assert text in found.text, text


def test_the_name_of_a_run_is_escaped(tmp_path):
    run = train(tiny.config(*CONFIG, "domains.b.dataset.pool='<b>&amp;'"), tmp_path / "<i>run", plugins=tiny.plugins())
    found = page(run.path, tmp_path / "report.html")
    assert "pool: <b>&amp;" in found.text
    assert str(tmp_path / "<i>run") in found.text


def test_a_run_that_has_only_begun_has_a_report(run, tmp_path, capsys):
    begun = tmp_path / "run"
    for name in ("checkpoints", "samples"):
        (begun / name).mkdir(parents=True)
    (begun / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    (begun / "metrics.jsonl").write_text('{"step": 1, "seconds": 0.5, "loss/gen')
    found = page(begun, tmp_path / "report.html")
    assert "this run has no intact checkpoint: " in capsys.readouterr().err
    for text in ("None yet.", "There is no checkpoint yet.", "Nothing is logged yet.", "No metric was measured."):
        assert text in found.text


def test_the_command_writes_the_page(command, plugin, run, tmp_path):
    module = plugin(
        """
        @hookimpl
        def report_sections(run):
            return [("Extra <words>", f"<p>of <em>{run.config.name}</em></p>")]
        """
    )
    broken = plugin("@hookimpl\ndef report_sections(run): raise ValueError('no')")
    result = command("report", run, "--plugin", TINY, "--plugin", module, "--plugin", broken)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(run / "report.html")
    assert "report_sections failed: ValueError: no" in result.stderr
    found = Page((run / "report.html").read_text())
    assert "Extra <words>" in "".join(found.titles)
    assert "of tiny" in found.text
    checkpoint = command("report", run / "checkpoints/step-0000003", "--plugin", TINY)
    assert checkpoint.stdout.strip() == str(run / "report-step-0000003.html")
    assert "averaged weights of step 3" in (run / "report-step-0000003.html").read_text()


@pytest.mark.parametrize(
    "answer", ["('title', '<p>html</p>')", "'text'", "[('title', 3)]", "[('a', 'b', 'c')]", "7", "[None]"]
)
def test_sections_of_another_form_give_a_warning_and_are_left_out(command, plugin, run, tmp_path, answer):
    strange = plugin(f"@hookimpl\ndef report_sections(run): return {answer}")
    sound = plugin("@hookimpl\ndef report_sections(run): return [('Sound', '<p>words</p>')]")
    file = tmp_path / "report.html"
    result = command("report", run, "--output", file, "--plugin", TINY, "--plugin", strange, "--plugin", sound)
    assert result.exit_code == 0, result.output
    assert f"plugin '{strange}': report_sections failed: it gives {answer}; give a list of pairs" in result.stderr
    assert "Sound" in Page(file.read_text()).titles


def test_a_model_without_a_run_has_a_report(command, run, tmp_path):
    """What its file knows: samples, sharing, scores, settings, versions."""
    exported = tmp_path / "model.safetensors"
    assert command("export", run, "--output", exported, "--plugin", TINY).exit_code == 0
    result = command("report", exported, "--plugin", TINY)
    assert result.stdout.strip() == str(tmp_path / "report.html")
    found = Page((tmp_path / "report.html").read_text())
    assert found.fetched == []
    assert found.pictures == []
    scored = json.loads((run / "summary.json").read_text())["last"]["brightness/a"]
    assert ["brightness/a", f"{scored:.4g}", "6", "", "", ""] in found.rows
    for text in ("Not in the model's file; its run has it.", "averaged weights of step 6", "batch_size: 4", "torch:"):
        assert text in found.text, text


def test_models_in_one_folder_have_a_report_each(command, run, tmp_path):
    for name in ("one", "two"):
        exported = tmp_path / f"{name}.safetensors"
        assert command("export", run, "--output", exported, "--plugin", TINY).exit_code == 0
        assert command("report", exported, "--plugin", TINY).stdout.strip() == str(tmp_path / f"{name}-report.html")


def test_wrong_arguments_are_errors(command, run, tmp_path):
    for wrong in ("model.safetensors", "checkpoints/step-0000099"):  # in the run, and not there
        rejected(command("report", run / wrong, "--plugin", TINY), f"{wrong}: no such run")
    assert not (run / "checkpoints/report.html").exists()
    rejected(command("report", tmp_path / "none", "--plugin", TINY), "none: no such run")
    rejected(command("report", run, "--output", run / "metrics.jsonl", "--plugin", TINY), "a report is an .html file")
    (tmp_path / "file").write_text("")
    rejected(command("report", run, "--output", tmp_path / "file/folder.html", "--plugin", TINY), "cannot be written")


def test_the_mean_and_the_chosen_step_are_scores(tmp_path):
    """Accuracy and information of several domains have a mean without a domain's name."""
    losses = "losses=[non-saturating, {name: classification, domains: [a], classes: 2}]"
    metrics = "metrics=[{name: information, every: 2}, {name: accuracy, every: 2}]"
    run = train(tiny.config(*CONFIG, losses, metrics), tmp_path / "run", plugins=tiny.plugins()).path
    summary = json.loads((run / "summary.json").read_text())
    chosen = summary["best"]["information"]["step"]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (there,) = (row["accuracy"] for row in rows if row["step"] == chosen and "accuracy" in row)
    found = page(run, tmp_path / "report.html")
    (row,) = (row for row in found.rows if row[0] == "accuracy")
    assert row[1] == f"{summary['last']['accuracy']:.4g}"
    assert row[3] == f"{there:.4g}"
    assert f"at step {chosen}, chosen by information" in found.text
    assert "accuracy/b" in {row[0] for row in found.rows}


def test_undefined_scores_are_shown_with_their_reasons(tmp_path, monkeypatch):
    values = {2: 0.5, 4: 0.25, 6: Undefined("the samples do not differ")}
    monkeypatch.setattr(
        tiny.Brightness, "measure", lambda self, evaluation: Measured(values[evaluation.model.step], {"unrelated": 0.1})
    )
    run = train(tiny.config(*CONFIG, METRIC), tmp_path / "run", plugins=tiny.plugins()).path
    row = ["brightness/a", "undefined: the samples do not differ", "6", "0.5", "0.5", "2"]
    assert row in page(run, tmp_path / "report.html").rows
    (run / "evaluation.json").unlink()  # a run from before there were reasons
    assert [*row[:1], "undefined", *row[2:]] in page(run, tmp_path / "report.html").rows


def test_panels_are_of_one_kind_of_value():
    log = [
        {"step": 4, "seconds": 2.0, "loss/generator/a": 1.0, "loss/generator/a/r1": 9.0, "loss/discriminator/a": 2.0},
        {"step": 2, "seconds": 1.0, "loss/generator/a": 3.0, "fid/a": None},
        {"step": 4, "seconds": 2.0, "fid/a": 5.0, "checkpoint": 4},
        {"step": 4, "seconds": 2.0, "fid/a": 6.0, "checkpoint": 4},
    ]
    assert panels(log) == {
        "losses of the generators": {"a": ([2, 4], [3.0, 1.0])},
        "losses of the discriminators": {"a": ([4], [2.0])},
        "fid": {"a": ([4], [6.0])},
    }
    assert term_panels(log) == {"generators: r1": {"a": ([4], [9.0])}}


def test_a_plot_has_columns_of_equal_length_and_marks_what_lies_beside():
    lines = {"a<b": ([1, 3], [0.0, 1.0]), "a<b/unrelated": ([1, 2], [0.5, 0.25])}
    assert plotted(lines) == {
        "lines": [{"label": "a<b", "beside": False}, {"label": "a<b/unrelated", "beside": True}],
        "data": [[1, 2, 3], [0.0, None, 1.0], [0.5, 0.25, None]],
    }


def test_a_log_is_read_but_for_its_torn_lines(tmp_path):
    assert read_log(tmp_path) == []
    assert read_last_line(tmp_path) == {}
    whole = [{"step": 1, "seconds": 0.1, "x/a": None}, {"step": 2, "seconds": 0.2}]
    torn = '{"step": 3, "sec', "[1]", '{"step": "4", "seconds": 1}', '{"st'
    lines = [json.dumps(whole[0]), *torn[:3], json.dumps(whole[1]), torn[3]]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert read_log(tmp_path) == whole
    assert read_last_line(tmp_path) == whole[1]
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(InputError, match=r"metrics\.jsonl: cannot be read"):
        read_log(tmp_path)
