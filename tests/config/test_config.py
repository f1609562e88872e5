"""The configuration: YAML, overrides, references to components, hints with the right path."""

from __future__ import annotations

import copy
import math
import string
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coupling.api import load_config, parse_config
from coupling.config.components import PartOptions
from coupling.config.config import Config
from coupling.config.overrides import override
from coupling.config.registry import options_model
from coupling.config.sections import OptimizerConfig, TeamOptimizerConfig
from coupling.config.yaml_text import parse_yaml
from coupling.errors import ConfigError
from tests.support import tiny_plugin as tiny


def problem(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        tiny.config(*overrides)
    return str(caught.value)


# -- YAML ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("2.0e-4", 2e-4),
        ("-1E5", -1e5),
        (".5", 0.5),
        ("1_000", 1000),
        ("0x10", 16),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        # Classic surprises of YAML 1.1, which are text here.
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2024-13-45", "2024-13-45"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
        ("'2e-4'", "2e-4"),
        ("[1, 2e3]", [1, 2e3]),
    ],
)
def test_scalars_have_their_type(text, value):
    parsed = parse_yaml(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_anchors_and_merges_work():
    text = "base: &base {a: 1, b: 2}\nown: {<<: *base, b: 3}\nagain: {<<: {b: 4}, a: 5}\n"
    assert parse_yaml(text)["own"] == {"a": 1, "b": 3}
    assert parse_yaml(text)["again"] == {"a": 5, "b": 4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", "line 5: 'c' is given twice"),
        ("a: {b: 1, b: 1}", "line 1: 'b' is given twice"),
        ("x: 1\n0: 2", "line 2: the key '0' is not text; if you mean it, put it in quotes"),
        ("true: 2", "line 1: the key 'true' is not text"),
        ("~: 2", "line 1: the key '~' is not text"),
        ("[a]: 2", "line 1: the key a list or mapping is not text"),
        ("a: [1", "line 1, column 6: not valid YAML"),
        ("a: 1\n\tb: 2", "line 2, column 1: not valid YAML"),
        ("a: *b", "line 1, column 4: not valid YAML: found undefined alias"),
        ("a: 1\n---\nb: 2", "line 2, column 1: not valid YAML"),
        ("a: !!python/object:os.system x", "line 1, column 4: not valid YAML: could not determine a constructor"),
        ("a: \x00", "not valid YAML: unacceptable character"),
        ("[" * 5000, "not valid YAML"),
    ],
)
def test_wrong_yaml_is_an_error_with_its_line(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


# -- overrides ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assignment", "place", "value"),
    [
        ("training.steps=10", lambda v: v["training"]["steps"], 10),
        ("training.ema=null", lambda v: v["training"]["ema"], None),
        (" seed =3", lambda v: v["seed"], 3),
        ("name=a=b", lambda v: v["name"], "a=b"),
        ("new.key.deep=[1]", lambda v: v["new"]["key"]["deep"], [1]),
        ("losses.0.name=hinge", lambda v: v["losses"], [{"name": "hinge"}]),
        ("metrics[0]=brightness", lambda v: v["metrics"], ["brightness"]),
        ("sharing.generator.0.first=1", lambda v: v["sharing"]["generator"], [{"first": 1}]),
        ("sharing.generator[0]={last: 1}", lambda v: v["sharing"]["generator"], [{"last": 1}]),
        ("sharing.generator.1={last: 1}", lambda v: v["sharing"]["generator"], [{"first": 2}, {"last": 1}]),
        ("generator.architecture.width=3", lambda v: v["generator"]["architecture"], {"name": "linear", "width": 3}),
        ("domains.a.dataset.half=1", lambda v: v["domains"]["a"]["dataset"]["half"], 1),
        ("domains.*.dataset.half=1", lambda v: [d["dataset"]["half"] for d in v["domains"].values()], [1, 1]),
        ("sharing.*.0.last=1", lambda v: [rule["last"] for (rule,) in v["sharing"].values()], [1, 1]),
        ("sharing.*[*]={last: 1}", lambda v: v["sharing"]["generator"], [{"last": 1}]),
    ],
)
def test_an_override_sets_its_key(assignment, place, value):
    values = copy.deepcopy(tiny.VALUES)
    override(values, assignment)
    assert place(values) == value


def test_an_override_gives_a_listed_component_options():
    values = {"losses": ["hinge", "r1"]}
    override(values, "losses[1].gamma=2")
    assert values == {"losses": ["hinge", {"name": "r1", "gamma": 2}]}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.steps", "--set training.steps: write it as path.to.key=value"),
        ("=3", "--set =3: write it as path.to.key=value"),
        ("seed=[1", "--set seed=[1: line 1, column 3: not valid YAML"),
        ("sharing.generator.4.first=1", "'sharing.generator' is a list of 1 items; it has no item '4'"),
        ("sharing.generator.x=1", "'sharing.generator' is a list of 1 items; it has no item 'x'"),
        ("sharing.generator.-1=1", "'sharing.generator' is a list of 1 items; it has no item '-1'"),
        ("sharing.generator.²=1", "'sharing.generator' is a list of 1 items; it has no item '²'"),
        ("numbers.0.x=1", "'numbers.0' has no keys below it"),
        ("numbers.*.x=1", "'numbers.0' has no keys below it"),
        ("metrics.*.every=1", "'metrics' has nothing that * could stand for"),
        ("seed.*=1", "'seed' has nothing that * could stand for"),
    ],
)
def test_a_wrong_override_is_an_error(assignment, message):
    with pytest.raises(ConfigError) as caught:
        override(copy.deepcopy(tiny.VALUES) | {"numbers": [1]}, assignment)
    assert message in str(caught.value)


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [leaf for key, inner in items for leaf in _leaves(inner, (*path, key))] or [path]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_an_override_sets_one_leaf_and_nothing_else(data):
    before = tiny.config("metrics=[brightness]").plain()
    leaf = data.draw(st.sampled_from(_leaves(before)))
    brackets = data.draw(st.booleans())
    value = data.draw(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text())
    path = ".".join(str(key) for key in leaf)
    if brackets:
        path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in leaf)[1:]
    after, expected = copy.deepcopy(before), copy.deepcopy(before)
    written = yaml.safe_dump(value, default_style='"' if isinstance(value, str) else None).removesuffix("\n...\n")
    if isinstance(value, float) and math.isinf(value):
        return  # no option may be infinite
    override(after, f"{path}={written}")
    place: Any = expected
    for key in leaf[:-1]:
        place = place[key]
    place[leaf[-1]] = value
    assert after == expected


# -- components ------------------------------------------------------------------------------------


def test_components_are_listed_in_order():
    config = tiny.config("metrics=[brightness]", "losses=[hinge, r1]")
    found = [(path, kind, component.name) for path, kind, component in config.components()]
    assert found == [
        ("domains.a.dataset", "dataset", "tiny"),
        ("domains.b.dataset", "dataset", "tiny"),
        ("generator.architecture", "architecture", "linear"),
        ("discriminator.architecture", "architecture", "linear"),
        ("losses[0]", "loss", "hinge"),
        ("losses[1]", "loss", "r1"),
        ("metrics[0]", "metric", "brightness"),
    ]
    assert [path for path, *_ in config.components(data=False)] == [path for path, *_ in found[2:-1]]


def test_a_team_may_change_every_setting_of_the_optimizer():
    assert list(TeamOptimizerConfig.model_fields) == list(OptimizerConfig.model_fields)
    assert TeamOptimizerConfig().model_dump(exclude_none=True) == {}
    changes = "optimizer={momentum: 0.25}", "generator.optimizer={lr: 0.5, betas: null}"
    config = tiny.config(*changes)
    assert config.team_optimizer("generator") == OptimizerConfig(lr=0.5, momentum=0.25)
    assert config.team_optimizer("discriminator") == OptimizerConfig(momentum=0.25)
    assert "generator.optimizer.betas[1]: 1 is not valid" in problem("generator.optimizer.betas=[0.5, 1]")
    assert "generator.optimizer.lr: 0 is not valid" in problem("generator.optimizer.lr=0")


# -- whole configurations ----------------------------------------------------------------------

_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True) | st.sampled_from(
    ["no", "on", "1e5", "010", "null", "true", "1", "0x1F", "1_0", "y"]
)
_datasets = st.fixed_dictionaries(
    {"name": st.just("tiny")},
    optional={
        "pool": st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12) | _names,
        "count": st.integers(0, 99),
        "scale": st.floats(allow_nan=False, allow_infinity=False),
        "half": st.sampled_from([1, 2]),
        "transform": st.sampled_from(["edges", ["negative", {"name": "rotate90", "turns": 2}]]),
    },
) | st.just("tiny")
_rates = st.floats(min_value=1e-12, max_value=1e12)


@st.composite
def configurations(draw) -> dict[str, Any]:
    domains = draw(st.dictionaries(_names, _datasets.map(lambda d: {"dataset": d}), min_size=1, max_size=4))
    rules = st.fixed_dictionaries(
        {},
        optional={"domains": st.lists(st.sampled_from(list(domains)), min_size=2, max_size=4, unique=True)}
        if len(domains) > 1
        else {},
    )
    counts = st.sampled_from(["first", "last"]).flatmap(lambda key: st.integers(1, 9).map(lambda k: {key: k}))
    numbers = st.lists(st.integers(1, 9), min_size=1).map(lambda layers: {"layers": layers})
    shared = st.lists(st.builds(lambda a, b: a | b, rules, counts | numbers), max_size=3)
    return {
        "name": draw(_names),
        "seed": draw(st.integers(0, 2**63 - 1)),
        "domains": domains,
        "generator": {"architecture": draw(st.sampled_from(["linear", {"name": "linear", "width": 3}]))},
        "discriminator": {"architecture": "linear", "optimizer": draw(st.just({}) | _rates.map(lambda lr: {"lr": lr}))},
        "sharing": {"generator": draw(shared), "discriminator": draw(shared)},
        "optimizer": {"lr": draw(_rates)},
        "training": {"ema": draw(st.none() | st.floats(0, 0.999))},
        "losses": draw(st.lists(st.sampled_from(["hinge", {"name": "r1", "gamma": 1e-9}]), min_size=1, max_size=3)),
        "metrics": draw(st.sampled_from([[], ["brightness"], [{"name": "brightness", "domain": "x", "every": 3}]])),
    }


@given(configurations())
@example(tiny.values('domains.a.dataset.pool="\\x85"'))  # a line break of YAML's own
@example(tiny.values("name='2e-4'", "domains.no={dataset: tiny}"))
@settings(max_examples=80, deadline=None)
def test_a_configuration_is_read_back_from_its_yaml(values):
    config = parse_config(values, plugins=tiny.plugins())
    again = parse_config(parse_yaml(config.yaml()), plugins=tiny.plugins())
    assert again == config
    assert again.yaml() == config.yaml()
    assert list(again.domains) == list(values["domains"])  # the order is the order in every picture


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*Config.model_fields, "first", "dataset", "architecture"]), inner, max_size=4
            )
        ),
        max_leaves=12,
    ).filter(lambda value: isinstance(value, dict)),
    st.sampled_from(sorted(Config.model_fields)),
)
@settings(max_examples=150, deadline=None)
def test_any_wrong_value_is_one_message(values, key):
    """A wrong value anywhere in a configuration is a ConfigError, and no other exception."""
    text = key
    try:
        parse_config(copy.deepcopy(tiny.VALUES) | {key: values}, plugins=tiny.plugins())
    except ConfigError as error:
        text = str(error)
    assert key in text


def test_a_configuration_is_completed_with_the_defaults():
    plain = tiny.config().plain()
    assert plain["training"]["precision"] == "fp32"
    assert plain["losses"] == [{"name": "non-saturating", "weight": 1.0}]
    # Also a component's defaults: a plugin that changes one does not change what a saved run means.
    expected = {"name": "tiny", "count": 33, "pool": "pool", "scale": 1.0, "roll": False}
    assert plain["domains"]["a"] == {"dataset": expected}
    assert plain["generator"]["architecture"] == {
        "name": "linear",
        "width": 6,
        "batch_norm": False,
        "dropout": 0.0,
        "running": True,
    }
    assert plain["sharing"] == {"generator": [{"first": 2}], "discriminator": [{"last": 2}]}


def test_a_configuration_is_frozen():
    config = tiny.config()
    for model, key in ((config, "seed"), (config.training, "steps"), (config.sharing.generator[0], "first")):
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            setattr(model, key, 3)


def test_a_teams_optimizer_changes_only_the_given_keys():
    config = tiny.config("generator.optimizer.lr=0.5", "optimizer.betas=[0.1, 0.2]")
    assert config.team_optimizer("generator").lr == 0.5
    assert config.team_optimizer("generator").betas == (0.1, 0.2)
    assert config.team_optimizer("discriminator").lr == 0.01


# -- what is wrong, and where --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("traning=1", "traning: unknown key 'traning'; did you mean 'training'?"),
        ("training.step=1", "training.step: unknown key 'step'; did you mean 'steps'?"),
        ("latent.sise=1", "latent.sise: unknown key 'sise'; did you mean 'size'?"),
        ("optimizer.beta=1", "optimizer.beta: unknown key 'beta'; did you mean 'betas'?"),
        ("domains.a.datset=x", "domains.a.datset: unknown key 'datset'; did you mean 'dataset'?"),
        ("generator.arch=x", "generator.arch: unknown key 'arch'; did you mean 'architecture'?"),
        ("generator.optimizer.lrr=1", "generator.optimizer.lrr: unknown key 'lrr'; did you mean 'lr'?"),
        ("sharing.generators=[]", "sharing.generators: unknown key 'generators'; did you mean 'generator'?"),
        ("sharing.generator.0.frist=1", "sharing.generator[0].frist: unknown key 'frist'; did you mean 'first'?"),
        ("domains.a.dataset=tine", "domains.a.dataset: no dataset is called 'tine'; did you mean 'tiny'?"),
        ("domains.a.dataset.hlaf=1", "unknown option 'hlaf' of dataset 'tiny'; did you mean 'half'?"),
        ("domains.a.dataset.cuont=1", "domains.a.dataset.cuont: unknown option 'cuont' of dataset 'tiny'"),
        ("domains.a.dataset.count=x", "domains.a.dataset.count: 'x' is not valid: should be a valid integer"),
        (
            "domains.a.dataset.count=-1",
            "domains.a.dataset.count: -1 is not valid: should be greater than or equal to 0",
        ),
        ("domains.a.dataset={half: 1}", "domains.a.dataset.name: is required and not given"),
        ("domains.a.dataset=[]", "domains.a.dataset: [] is not valid: write a component as its name, or as {name:"),
        ("domains.a.dataset.options={}", "domains.a.dataset.options: unknown option 'options' of dataset 'tiny'"),
        ("domains.a.dataset.half=3", "domains.a.dataset.half: 3 is not valid: should be 1 or 2"),
        ("domains.a.dataset.part=[3,2]", "domains.a.dataset: part: [3, 2] is not [k, n] with 1 <= k <= n"),
        ("domains.a.dataset.transform=edgs", "domains.a.dataset.transform: no transform is called 'edgs'"),
        ("domains.a.dataset.transform=[edges, edgs]", "domains.a.dataset.transform[1]: no transform is called 'edgs'"),
        ("domains.a.dataset.transform={name: edges, x: 1}", "domains.a.dataset.transform.x: unknown option 'x'"),
        ("domains.a.dataset.transform=4", "domains.a.dataset.transform: 4 is not valid: write a component"),
        ("domains.my dom={dataset: tiny}", "domains.my dom: 'my dom' is not valid: a name consists of letters"),
        ("name=a/b", "name: 'a/b' is not valid: a name consists of letters (a to z), digits, - and _"),
        ('name="a\\n"', "name: 'a\\n' is not valid"),
        ("seed=-1", "seed: -1 is not valid"),
        ("generator.architecture=liner", "generator.architecture: no architecture is called 'liner'; did you mean"),
        ("generator.architecture.width=wide", "generator.architecture.width: 'wide' is not valid"),
        ("losses=[{name: r1, gama: 1}]", "losses[0].gama: unknown option 'gama' of loss 'r1'; did you mean 'gamma'?"),
        ("losses=[r1, hing]", "losses[1]: no loss is called 'hing'; did you mean 'hinge'?"),
        ("losses=hinge", "losses: 'hinge' is not valid: should be a list, such as [hinge]"),
        ("losses={name: hinge}", "losses: {name: hinge} is not valid: should be a list, such as [{name: hinge}]"),
        ("losses=[]", "losses: [] is not valid: should have at least one entry; give a value, or leave the key out if"),
        ("domains={}", "domains: {} is not valid: should have at least one entry"),
        ("training.steps=", "training.steps: null is not valid"),
        (
            "sharing.generator=first",
            "sharing.generator: 'first' is not valid: should be a list of rules, such as [{fir",
        ),
        ("sharing.generator={first: 2}", "sharing.generator: {first: 2} is not valid: should be a list of rules, such"),
        ("optimizer.betas=0.5", "optimizer.betas: 0.5 is not valid: should be a list"),
        (
            "metrics=[{name: brightness, domian: a}]",
            "metrics[0].domian: unknown option 'domian' of metric 'brightness'",
        ),
        ("metrics=[{name: brightness, evry: 3}]", "metrics[0].evry: unknown option 'evry' of metric 'brightness'; did"),
        ("metrics=[{name: brightness, every: 0}]", "metrics[0].every: 0 is not valid"),
        ("metrics=[{every: 3}]", "metrics[0].name: is required and not given"),
        ("sharing.generator.0.first=two", "sharing.generator[0].first: 'two' is not valid: should be a valid integer"),
        ("sharing.generator.0.last=1", "sharing.generator[0]: {first: 2, last: 1} is not valid: give exactly one"),
        ("sharing.generator.0.domains=[a, c]", "sharing.generator[0].domains: no domain is called 'c'; known: a, b"),
        ("sharing.generator.0.domains=[a, a]", "a domain is named twice"),
        ("sharing.generator.0.domains=[a]", "sharing.generator[0].domains: [a] is not valid"),
        ("training=", "training: null is not valid: should be a mapping of keys to values; give a value, or leave"),
        ("training.steps=2.5", "training.steps: 2.5 is not valid"),
        ("training.precision=fp8", "training.precision: 'fp8' is not valid: should be 'fp32'"),
        ("optimizer.lr=.inf", "optimizer.lr: '.inf' is not valid"),
        ("optimizer.betas=[0.5, 1]", "optimizer.betas[1]: 1 is not valid: should be less than 1"),
        ("optimizer.betas=[0.5]", "optimizer.betas[1]: is required and not given"),
        ("generator.optimizer.betas=[2, 0]", "generator.optimizer.betas[0]: 2 is not valid"),
    ],
)
def test_a_problem_names_path_value_and_fix(assignment, message):
    text = problem(assignment)
    assert text.startswith(message) or message in text.splitlines()[0]
    assert "\n" not in text


def test_half_and_part_exclude_each_other():
    assert problem("domains.a.dataset.half=1", "domains.a.dataset.part=[1, 2]") == (
        "domains.a.dataset: give half or part, not both"
    )


def test_missing_keys_are_named():
    with pytest.raises(ConfigError) as caught:
        parse_config({"name": "x"}, plugins=tiny.plugins())
    assert str(caught.value).splitlines() == [
        f"{key}: is required and not given" for key in ("domains", "generator", "discriminator")
    ]


def test_a_long_value_is_cut():
    assert len(problem(f"optimizer.lr=[{', '.join(map(str, range(1000)))}]")) < 250


def test_part_options_choose_a_part():
    assert PartOptions().chosen() is None
    assert PartOptions(half=2).chosen() == (2, 2)
    assert PartOptions(part=(2, 5)).chosen() == (2, 5)
    assert PartOptions(part="all").chosen() == (1, 1)


# -- files ---------------------------------------------------------------------------------------


def load(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, plugins=tiny.plugins())
    return str(caught.value)


def test_a_configuration_is_read_from_a_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("\ufeff" + yaml.safe_dump(tiny.VALUES), encoding="utf-8")  # some editors begin a file so
    assert load_config(path, ["seed=7"], plugins=tiny.plugins()) == tiny.config("seed=7")


def test_problems_in_a_file_stand_under_its_name(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tiny.VALUES | {"a1": 1, "a2": 2}))
    first, *others = load(path).splitlines()
    assert first == f"{path}:"
    assert [line.split(":")[0] for line in others] == ["  a1", "  a2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; a configuration is a mapping with the keys name, domains, generator"),
        (b"# only a comment\n", "is empty"),
        (b"- a\n", "a configuration is a mapping with the keys name"),
        (b"hello", "a configuration is a mapping"),
        (b"seed: 1\nname: \xe9\n", "line 2: is not UTF-8 text; save it in that encoding"),
        (b"PK\x03\x04\xff\xfe", "line 1: is not UTF-8 text"),
    ],
)
def test_a_file_without_a_configuration_is_an_error(tmp_path, content, message):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    assert load(path).startswith(f"{path}: {message}")


def test_a_missing_file_gets_the_nearest_name(tmp_path):
    (tmp_path / "faces.yaml").write_text("")
    assert load(tmp_path / "face.yaml") == f"{tmp_path}/face.yaml: no such file; did you mean '{tmp_path}/faces.yaml'?"
    assert "no such file; nor is there another .yaml file in" in load(tmp_path / "nowhere" / "face.yaml")


def test_a_missing_file_gets_the_name_of_an_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (".pre-commit-config.yaml", "examples/digits.yaml", "examples/faces.yaml", "train.yml"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("")
    assert load(Path("faces.yaml")) == "faces.yaml: no such file; did you mean 'examples/faces.yaml'?"
    assert load(Path("trian.yml")) == "trian.yml: no such file; did you mean 'train.yml'?"
    known = "known: examples/digits.yaml, examples/faces.yaml, train.yml"
    assert load(Path("nofile.yaml")) == f"nofile.yaml: no such file; {known}"


def test_a_directory_is_an_error(tmp_path):
    assert load(tmp_path) == f"{tmp_path}: is a directory; give a file, such as config.yaml"
    (tmp_path / "config.yaml").write_text("")
    assert load(tmp_path) == f"{tmp_path}: is a directory; give a file, such as {tmp_path}/config.yaml"


def test_names_can_be_names_of_files():
    for character in set(string.printable) - set(string.ascii_letters + string.digits + "-_"):
        with pytest.raises(ConfigError):
            parse_config(tiny.VALUES | {"name": f"a{character}"}, plugins=tiny.plugins())


@pytest.mark.parametrize(
    "key",
    [
        "training.steps", "training.ema", "seed", "latent.size", "optimizer.lr", "generator.optimizer.lr",
        "domains.a.dataset.half", "domains.a.dataset.count", "domains.a.dataset.scale", "domains.b.dataset.part",
        "sharing.generator.0.first", "optimizer.betas",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", ["true", "false", "[true, 0.5]", "[1, false]"])
def test_true_is_not_a_number(key, value):
    """For Python it is 1, and ``steps: true`` would train one step."""
    place = key.replace(".0.", "[0].")
    assert problem(f"{key}={value}") == f"{place}: {value} is not valid: should be a number, not true or false"


def test_true_is_a_boolean_and_a_number_a_number():
    config = tiny.config("training.compile=true", "training.steps=3", "domains.a.dataset.roll=true", "optimizer.lr=1")
    assert (config.training.compile, config.training.steps, config.optimizer.lr) == (True, 3, 1.0)
    assert config.domains["a"].dataset.options["roll"] is True


@pytest.mark.parametrize("annotation", [int, float, int | None, list[int], tuple[float, ...], dict[str, int] | int])
def test_true_is_not_a_number_in_options_of_components(annotation):
    def make(*, option): ...

    make.__annotations__["option"] = annotation
    options = options_model("made", make)
    value = [True] if annotation in (list[int], tuple[float, ...]) else True
    with pytest.raises(pydantic.ValidationError, match="should be a number, not true or false"):
        options(option=value)


@pytest.mark.parametrize("annotation", [bool, bool | int, Literal[True, 3], Any, list[bool | float], object])
def test_options_may_be_booleans(annotation):
    def make(*, option): ...

    make.__annotations__["option"] = annotation
    value = [True] if annotation == list[bool | float] else True
    assert options_model("made", make)(option=value).option == value
