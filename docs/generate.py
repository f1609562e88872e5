"""Write the generated parts of the documents: pictures, tables, the example plugin, the API reference, the schemas.

    python docs/generate.py

A test fails if a generated part is not up to date.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from coupling.api import parse_config
from coupling.cli.available_plugins import available_plugins
from coupling.config import components, schedules, sections
from coupling.config.config import Config
from coupling.config.json_schema import SCHEMA_VERSION, config_schema
from coupling.config.registry import KINDS
from coupling.data.domain_data import open_domains
from coupling.metrics.metric import describe_range
from coupling.networks.build import assemble
from coupling.plugins import Plugins, installed
from coupling.sharing.picture import sharing_picture
from coupling.sweeps.grid import SweepConfig
from coupling.sweeps.json_schema import sweep_schema

DOCS = Path(__file__).parent
sys.path.append(str(DOCS))  # for the modules beside this one, also if a test loads it from its file

from reference_page import reference  # noqa: E402  (found only now)

PACKAGE = DOCS.parent / "coupling"
SECTIONS: dict[str, tuple[type[BaseModel], str]] = {
    "top level": (Config, ""),
    "latent": (sections.LatentConfig, "latent."),
    "every data set": (components.PartOptions, "domains.NAME.dataset."),
    "generator, discriminator": (sections.TeamConfig, "generator."),
    "sharing": (sections.RuleConfig, "sharing.TEAM[i]."),
    "optimizer": (sections.OptimizerConfig, "optimizer."),
    "training": (sections.TrainingConfig, "training."),
    "start_from": (sections.StartConfig, "training.start_from."),
    "freeze": (sections.FreezeRule, "training.freeze.TEAM[i]."),
    "schedules": (schedules.Schedule, ""),
    "augmentation": (sections.AugmentationConfig, "augmentation."),
    "augmentation.operations": (components.OperationConfig, "augmentation.operations[i]."),
    "augmentation.adaptive": (sections.AdaptiveConfig, "augmentation.adaptive."),
    "metrics": (components.MetricConfig, "metrics[i]."),
}


def pictures() -> Iterator[tuple[Path, str]]:
    """Each picture of sharing.md: its file, and the SVG of the configuration that stands before it."""
    text = (DOCS / "sharing.md").read_text(encoding="utf-8")
    for block, name in re.findall(r"```yaml\n(.*?)```\n\n!\[.*?\]\((.*?)\)", text, re.DOTALL):
        config = parse_config(yaml.safe_load(block))
        domains = {name: data.domain for name, data in open_domains(config, installed().registry).items()}
        yield DOCS / name, sharing_picture(assemble(config, domains, installed().registry).graphs)


def plugin_text() -> str:
    """bring-your-own-domains.md with the example plugin's files as they are now."""
    text = (DOCS / "bring-your-own-domains.md").read_text(encoding="utf-8")

    def block(found: re.Match[str]) -> str:
        content = (DOCS / "plugin-example" / found["path"]).read_text(encoding="utf-8")
        return f"`{found['path']}`\n\n```{found['language']}\n{content}```"

    return re.sub(r"^`(?P<path>[\w./-]+)`\n\n```(?P<language>\w+)\n.*?```", block, text, flags=re.M | re.S)


def configuration() -> str:
    """configuration.md with its tables as the models have them now."""
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    for title, (model, prefix) in SECTIONS.items():
        text = _replaced(text, title, keys_table(model, prefix))
    return _replaced(text, "components", components_table())


def sweeps() -> str:
    """sweeps.md with the keys of a sweep as they are now."""
    return _replaced((DOCS / "sweeps.md").read_text(encoding="utf-8"), "sweep", keys_table(SweepConfig, ""))


def design() -> str:
    """design.md with the tree of the packages and modules, each with the first sentence of its docstring."""
    rows = [("coupling/", _purpose(PACKAGE / "__init__.py")), *_tree(PACKAGE, "  ")]
    width = max(len(name) for name, _ in rows) + 2
    tree = "\n".join(f"{name:<{width}}{purpose}" for name, purpose in rows)
    return _replaced((DOCS / "design.md").read_text(encoding="utf-8"), "tree", f"```text\n{tree}\n```")


def _tree(folder: Path, indent: str) -> Iterator[tuple[str, str]]:
    """The packages of a folder, then its modules and templates: (indented name, purpose)."""
    for package in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield f"{indent}{package.name}/", _purpose(package / "__init__.py")
        yield from _tree(package, indent + "  ")
    for module in sorted(folder.glob("*.py")):
        if module.name not in ("__init__.py", "__main__.py"):
            yield f"{indent}{module.name}", _purpose(module)
    for template in sorted(folder.glob("*.jinja")):
        yield (
            f"{indent}{template.name}",
            template.read_text(encoding="utf-8").partition("{#-")[2].partition(".")[0].strip(),
        )


def _purpose(path: Path) -> str:
    """The first sentence of a module's docstring, in one line."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[\w)'`])\.(?: |$)", text)[0].replace("``", "")


def metrics() -> str:
    """metrics.md with each metric's description and options, and all of them in the first table."""
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    registry = Plugins(entry_points=False).registry
    rows = ["| metric | range | better | measures |", "|---|---|---|---|"]
    for name in registry.names("metric"):
        component = registry.components["metric", name]
        bounds = describe_range(component.make.range)
        rows.append(f"| [`{name}`](#{name}) | {bounds} | {component.make.better} | {component.description} |")
        text = _replaced(text, f"metric {name}", keys_table(component.options, ""))
    return _replaced(text, "metrics", "\n".join(rows))


def keys_table(model: type[BaseModel], prefix: str) -> str:
    """Key, type, default and meaning of a model's fields."""
    rows = [("key", "type", "default", "meaning"), ("---",) * 4]
    for name, field in model.model_fields.items():
        if name != "options":
            key = prefix + (field.alias or name)
            rows.append((f"`{key}`", field_type(field), _default(field), field.description or ""))
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def components_table() -> str:
    """What comes without any plugin."""
    rows = ["| kind | name | |", "|---|---|---|"]
    registry = Plugins(entry_points=False).registry
    for kind in KINDS:
        for name in registry.names(kind):
            rows.append(f"| {kind} | `{name}` | {registry.components[kind, name].description} |")
    return "\n".join(rows)


def field_type(field: FieldInfo) -> str:
    """A field's type and bounds, for people: ``integer, 1 or more``."""
    return ", ".join([_type(field.annotation), *_bounds(field.metadata)])


def _bounds(metadata: Iterable[Any]) -> list[str]:
    words = {"ge": "{} or more", "gt": "above {}", "le": "{} or less", "lt": "below {}"}
    inner = [bound for part in metadata for bound in (part.metadata if isinstance(part, FieldInfo) else [part])]
    return [
        phrase.format(_number(getattr(bound, word)))
        for bound in inner
        for word, phrase in words.items()
        if hasattr(bound, word)
    ]


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = ", ".join(_bounds(arguments[1:]))
        return f"{_type(arguments[0])} ({bounds})" if bounds else _type(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join("none" if a is type(None) else _type(a) for a in arguments)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is dict:
        return f"{_type(arguments[1])} by name"
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is tuple:
        return "[" + ", ".join(_type(a) for a in arguments) + "]"
    names = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "value"}
    if annotation in names:
        return names[annotation]
    if isinstance(annotation, type) and issubclass(annotation, schedules.Schedule):
        return "[schedule](#schedules)"
    return {
        "ComponentConfig": "component",
        "MetricConfig": "metric",
        "OperationConfig": "augmentation",
        "RuleConfig": "rule",
    }.get(annotation.__name__, "keys below")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return ""
    if isinstance(value, list):
        value = [item.plain() if hasattr(item, "plain") else item for item in value]
    if isinstance(value, tuple):
        value = list(value)
    written = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    return f"`{_number(value) if isinstance(value, int | float) and not isinstance(value, bool) else written}`"


def _number(value: float) -> str:
    return "2^63" if value == 2**63 else f"{value:g}" if abs(value) < 1e5 else str(value)


def _replaced(text: str, name: str, made: str) -> str:
    begin, end = f"<!-- made: {name} -->\n", "<!-- end -->"
    before, found, rest = text.partition(begin)
    if not found:
        raise ValueError(f"the document has no marker for '{name}'")
    return before + begin + "\n" + made + "\n\n" + end + rest.partition(end)[2]


def available() -> str:
    """plugins.md with the list of plugins as `coupling plugins --available` has it."""
    rows = ["| plugin | |", "|---|---|"]
    rows += [f"| [{plugin.name}]({plugin.address}) | {plugin.description} |" for plugin in available_plugins()]
    return _replaced((DOCS / "plugins.md").read_text(encoding="utf-8"), "available", "\n".join(rows))


def included() -> Plugins:
    """The plugins of this repository, whatever else is installed."""
    projects = [tomllib.loads(path.read_text()) for path in sorted(DOCS.parent.glob("plugins/*/pyproject.toml"))]
    points = [project["project"].get("entry-points", {}).get("coupling", {}) for project in projects]
    return Plugins([module for named in points for module in named.values()], entry_points=False)


def schemas() -> Iterator[tuple[Path, str]]:
    """The schemas that editors read from this repository, with the options of the included plugins."""
    for name, schema in (("run", config_schema), ("sweep", sweep_schema)):
        text = json.dumps(schema(included().registry), indent=1, ensure_ascii=False)
        yield DOCS / "schema" / SCHEMA_VERSION / f"{name}.json", text + "\n"


def made() -> Iterator[tuple[Path, str]]:
    """Every file that is made, and what it should hold."""
    yield from pictures()
    yield from schemas()
    yield DOCS / "configuration.md", configuration()
    yield DOCS / "design.md", design()
    yield DOCS / "metrics.md", metrics()
    yield DOCS / "plugins.md", available()
    yield DOCS / "reference.md", reference()
    yield DOCS / "sweeps.md", sweeps()
    yield DOCS / "bring-your-own-domains.md", plugin_text()


if __name__ == "__main__":
    for path, content in made():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
