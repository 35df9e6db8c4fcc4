"""MkDocs hook: reference pages that are generated from the code.

Command line (Typer), warning codes (`WarningCode`), manifest columns and model cards are written to
``Docs/pages/reference``, so that they can be read without the site; a test compares them with the code. The tables of
the JSON Schemas and the Python API (one mkdocstrings entry per module) exist in the site only.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

try:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File, Files
except ImportError:  # the test of the written pages needs none of it
    pass

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from RTResponseCAMLib.cli.application import GROUPS, HELP, application  # noqa: E402
from RTResponseCAMLib.cohort.manifest import COLUMN_TEXTS, COLUMNS, NEEDED  # noqa: E402
from RTResponseCAMLib.warnings import WarningCode  # noqa: E402

PAGES = ROOT / "Docs" / "pages"
SCHEMAS = PAGES / "reference" / "schemas"
BUNDLES = ROOT / "Resources" / "Models"
SHOWN_PACKAGES = (  # in the order of the layers, top first
    "workflow", "scene", "report", "evaluation", "models", "cam", "subregion", "samples", "cohort", "phantom",
    "dicom", "dosimetry", "response", "imaging",
)  # fmt: skip
SHOWN_MODULES = ("study", "warnings", "errors", "progress", "tables")


def cell(text: object) -> str:
    """Text for a cell of a Markdown table."""
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").replace("<", "&lt;")


def commands(group: Any, prefix: str = "rtresponsecam") -> Iterator[tuple[str, Any]]:
    """All commands below a group with their full names."""
    for name, command in group.commands.items():
        full = f"{prefix} {name}"
        if hasattr(command, "commands"):
            yield from commands(command, full)
        else:
            yield full, command


def cli_page() -> str:
    """Options of every command."""
    lines = ["# Command line", "", HELP, ""]
    lines += ["Generated from the program. `rtresponsecam COMMAND --help` shows the same.", ""]
    lines += [
        "Exit codes: 0 done, 1 failed, 2 bad input, 130 cancelled. `--quiet` before the command hides the progress"
    ]
    lines += ["bar; `rtresponsecam --install-completion` installs completion for the shell.", ""]
    for name, command in commands(typer.main.get_command(application())):
        text = (command.help or "").strip()
        lines += [f"## `{name}`", "", f"{text[:1].upper()}{text[1:]}.", ""]
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option"]
        usage = " ".join([name, *(f"{a.name.upper()}{'…' if a.nargs == -1 else ''}" for a in arguments)])
        lines += ["```text", f"{usage} [OPTIONS]", "```", "", "| option | meaning | default |", "|---|---|---|"]
        for option in options:
            if option.hidden or "--help" in option.opts:
                continue
            names = ", ".join(f"`{n}`" for n in (*option.opts, *option.secondary_opts) if n.startswith("-"))
            default = "required" if option.required else _default(option)
            lines.append(f"| {names} | {cell(option.help or '')} | {default} |")
        lines.append("")
    for group, text in GROUPS.items():
        lines.append(f"`{group}`: {text}.  ")
    return "\n".join(lines) + "\n"


def _default(option: Any) -> str:
    if isinstance(option.show_default, str):
        return option.show_default
    value = option.default
    if callable(value) or value is None or value is False or value == () or value == []:
        return ""
    return f"`{cell(getattr(value, 'value', value))}`"


def warnings_page() -> str:
    """The table of warnings."""
    lines = [
        "# Warning codes",
        "",
        "Generated from `RTResponseCAMLib/warnings.py`. JSON files state `code`, `severity` and `text`.",
        "",
        "- **note**: something unusual was read as described; the numbers are valid.",
        "- **warning**: numbers may be affected; compare them with the planning system.",
        "- **serious**: numbers may be wrong, or are not given.",
        "- *withholds the class*: the lesion gets no class. *flags the map*: a quality flag; a subregion is contoured",
        "  only on explicit request.",
        "- `indeterminate` and `unfamiliar` report that no class is given; the effect column lists the codes that",
        "  cause it.",
        "",
        "| code | severity | text | effect |",
        "|---|---|---|---|",
    ]
    for code in sorted(WarningCode, key=lambda code: code.value):
        effects = ["withholds the class"] * code.withholds_class + ["flags the map"] * code.flags_map
        anchor = f'<a id="{code.value}"></a>`{code.value}`'
        lines.append(f"| {anchor} | {code.severity.value} | {cell(code.template)} | {', '.join(effects)} |")
    return "\n".join(lines) + "\n"


def manifest_page() -> str:
    """Columns of the manifest."""
    lines = [
        "# Manifest",
        "",
        "A cohort is a folder with `manifest.csv` (UTF-8, comma-separated): one row per patient, course and lesion.",
        "A row names a DICOM study (`study` and the ROI in `lesion`) or image files (`mr` and `mask`). No column holds",
        "a date.",
        "`rtresponsecam cohort check COHORT` reads every case and lists errors by line and column.",
        "Generated from `RTResponseCAMLib/cohort/manifest.py`.",
        "",
        "| column | required | meaning |",
        "|---|---|---|",
    ]
    for name in (*COLUMNS, "clinical_…"):
        lines.append(f"| `{name}` | {'yes' if name in NEEDED else ''} | {cell(COLUMN_TEXTS[name])} |")
    return "\n".join(lines) + "\n"


def schema_table(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Rows of a JSON Schema, nested names joined by dots."""
    for name, entry in schema.get("properties", {}).items():
        kind = entry.get("type", entry.get("$ref", "").rpartition("/")[2])
        kind = " or ".join(kind) if isinstance(kind, list) else kind
        inner = entry.get("items", {})
        if kind == "array":
            kind = f"array of {inner.get('type') or inner.get('$ref', '').rpartition('/')[2]}"
        yield f"| `{prefix}{name}` | {kind} | {cell(entry.get('description', ''))} |"
        yield from schema_table(entry, f"{prefix}{name}.")
        yield from schema_table(inner, f"{prefix}{name}[].")
    for name, entry in schema.get("$defs", {}).items():
        yield from schema_table(entry, f"{name}.")


def schema_page(title: str, name: str, text: str) -> str:
    """One JSON Schema as a table, with its file."""
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    rows = "\n".join(schema_table(schema))
    head = f"## {title}\n\nJSON Schema: [{name}.schema.json](schemas/{name}.schema.json)."
    return f"{text}\n\n{head}\n\n| key | type | meaning |\n|---|---|---|\n{rows}\n"


def card_page() -> str:
    """Cards of the bundles that ship."""
    lines = ["# Model cards", ""]
    for path in sorted(BUNDLES.glob("*/model.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        held_out, inputs, checks = card["held_out"], card["preprocessing"], card["checks"]

        def interval(value: dict[str, float]) -> str:
            return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"

        alone = held_out["volume_alone"]
        low, high = min(inputs["volume_cc"]), max(inputs["volume_cc"])
        patch = (
            f"{inputs['spacing_mm']:g} mm isotropic, patient axes, {inputs['margin_mm']:g} mm margin around the lesion"
        )
        lines += [f"## {card['name']}", "", card["description"], "", f"**Intended use.** {card['intended_use']}", ""]
        lines += ["**Limitations.**", "", *(f"- {text}" for text in card["warnings"])]
        lines += [
            "- Trained on one family of phantoms. Real lesions differ from it in size, shape, contrast, resolution and"
        ]
        lines += ["  noise; see [limitations](../concepts/limitations.md).", ""]
        lines += ["**Input specification.**", "", "| input | value |", "|---|---|"]
        lines += [f"| image | {cell(inputs['input'])} |", f"| patch | {patch} |"]
        lines += [f"| dose | {'relative to the prescription' if inputs['dose'] else 'not used'} |"]
        limits = "no class is given below 1/1.1 or above 1.1 times this range"
        lines += [f"| lesion volume | {low:.3f} to {high:.3f} cm³; {limits} |"]
        lines += [
            f"| MR voxel | at most {inputs['mr_voxel_mm']:g} mm; voxels above 1.25 times this size give a warning |",
            "",
        ]
        lines += ["**Training data.**", "", f"Synthetic, `{card['cohort']}`."]
        lines += [
            f"{held_out['lesions']} lesions of {held_out['patients']} patients. Trained with `{card['command']}`.",
            "",
        ]
        lines += ["**Metrics.**", "", f"{held_out['protocol'].capitalize()}. 95 % intervals resample patients."]
        lines += [f"Class threshold {card['threshold']:.3f}. Brier score {held_out['brier']:.3f}.", ""]
        lines += ["| lesions | AUC of the model | AUC of volume alone |", "|---|---|---|"]
        lines += [f"| all | {interval(held_out['auc'])} | {interval(alone['auc'])} |"]
        for name, value in held_out["auc_by_label_source"].items():
            lines.append(f"| {cell(name)} | {interval(value)} | {interval(alone['auc_by_label_source'][name])} |")
        lines += ["", f"**Checks of the evidence map** (means over {checks['lesions']} held-out lesions).", ""]
        lines += ["| check | value |", "|---|---|"]
        lines += [f"| `{name}` | {value:.3f} |" for name, value in checks.items() if name != "lesions"]
        for name, entry in card.get("stress", {}).items():
            lines += ["", *stress_lines(name, entry)]
        weights = card["weights"][0]
        lines += ["", f"**Weights.** `{weights['file']}` (safetensors), SHA-256 `{weights['sha256']}`."]
        lines += ["License: Apache-2.0, as the program. Nothing is unpickled.", ""]
    return "\n".join(lines) + "\n"


def stress_lines(name: str, entry: dict[str, Any]) -> list[str]:
    """How far the answer moves when the scan changes and the lesion does not."""
    lines = [
        f"**Sensitivity to the scan** ({name}; {entry['lesions']} lesions, of which "
        f"{100 * entry['withheld_unchanged']:.0f} % get no class on the unchanged scan). `{entry['command']}`.",
        "",
        "| change | logit of non-response, median (10–90 %) | correlation of the map | class flips | class withheld |",
        "|---|---|---|---|---|",
    ]
    for change, r in entry["changes"].items():
        logit = f"{r['logit_median']:+.2f} ({r['logit_p10']:+.2f} to {r['logit_p90']:+.2f})"
        shares = f"{100 * r['flips']:.0f} % | {100 * r['withheld']:.0f} %"
        lines.append(f"| {change} | {logit} | {r['map_correlation']:.2f} | {shares} |")
    return lines


def module_entry(module: str, *, title: str) -> list[str]:
    """A heading, and what mkdocstrings puts there."""
    return [
        f"## `{title}`",
        "",
        f"::: {module}",
        "    options:",
        "      show_root_heading: false",
        "      heading_level: 3",
        "",
    ]


def api_pages() -> dict[str, str]:
    """One page per package, and the public functions on the first."""
    first = ["# Python API", "", "```python"]
    first += ["from RTResponseCAMLib import load_study, predict, follow_up, train, evaluate", "```", ""]
    first += ["Arrays are `[z, y, x]`; images are SimpleITK images in LPS, mm; doses are in Gy and volumes in cm³.", ""]
    first += ["## Packages", ""]
    pages = {}
    for package in SHOWN_PACKAGES:
        folder = ROOT / "RTResponseCAMLib" / package
        lines = [f"# `{package}`", ""]
        for path in sorted(folder.rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if path.name != "__init__.py":
                lines += module_entry(module, title=module.partition(".")[2])
        pages[f"reference/api/{package}.md"] = "\n".join(lines)
        summary = (folder / "__init__.py").read_text(encoding="utf-8").split('"""')[1].splitlines()[0]
        first.append(f"- [`{package}`](api/{package}.md): {summary}")
    lines = ["# Domain types", ""]
    for module in SHOWN_MODULES:
        lines += module_entry(f"RTResponseCAMLib.{module}", title=module)
    pages["reference/api/domain.md"] = "\n".join(lines)
    first += ["- [Domain types](api/domain.md): study, lesion, prediction, warnings, errors, progress", ""]
    pages["reference/api.md"] = "\n".join(first + module_entry("RTResponseCAMLib.api", title="Public functions"))
    return pages


def written_pages() -> dict[str, str]:
    """Pages that are written to ``Docs/pages``, by their path."""
    return {
        "reference/cli.md": cli_page(),
        "reference/warnings.md": warnings_page(),
        "reference/manifest.md": manifest_page(),
        "reference/model_cards.md": card_page(),
    }


def on_pre_build(config: MkDocsConfig) -> None:
    """Write the generated pages where they have changed."""
    for path, content in written_pages().items():
        file = PAGES / path
        if not file.is_file() or file.read_text(encoding="utf-8") != content:
            file.write_text(content, encoding="utf-8")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the tables of the schemas and the API."""
    pages = api_pages()
    for path, (name, title) in {
        "reference/results.md": ("result", "`result.json`"),
        "reference/bundle.md": ("bundle", "`model.json`"),
    }.items():
        file = files.get_file_from_path(path)
        assert file is not None, path
        files.remove(file)
        pages[path] = schema_page(title, name, file.content_string)
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files
