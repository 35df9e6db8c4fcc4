"""The documentation: generated pages are current, commands run, schemas hold, links lead somewhere."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from RTResponseCAMLib.workflow.write import result_json

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "Docs" / "pages"
SCHEMAS = PAGES / "reference" / "schemas"
BASH = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAM = "from RTResponseCAMLib.cli import main; raise SystemExit(main())"
# Shell blocks that are not run: they install, run CI's own targets, or need data that is not here.
NOT_RUN = re.compile(r"^(make |source |pip |git |#|rtresponsecam --help|python Testing/Benchmarks/|STUDIES=)")
LANGUAGES = {"bash", "sh", "console", "python", "text", ""}


def hook(name: str):
    spec = importlib.util.spec_from_file_location(f"{name}_hook", ROOT / "Docs" / "build_site" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", ["cli", "warnings", "manifest", "model_cards"])
def test_generated_pages_are_those_of_the_code(path):
    """When this fails: ``make docs`` writes them anew."""
    expected = hook("pages").written_pages()[f"reference/{path}.md"]
    assert (PAGES / "reference" / f"{path}.md").read_text(encoding="utf-8") == expected


def commands_of(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for block in BASH.findall(text) for line in block.splitlines() if line.strip()]


PAGES_WITH_COMMANDS = [p for p in sorted(PAGES.rglob("*.md")) if commands_of(p)]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=lambda p: p.stem)
def test_the_commands_of_a_page_run_one_after_the_other(page, tmp_path):
    """Each page begins in an empty folder, as its reader does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for line in commands_of(page):
        program, *arguments = shlex.split(line, comments=True)
        assert program == "rtresponsecam", f"{line}: only the program itself is run"
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "--quiet", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}: {done.stderr}"


def test_every_command_is_run_or_known_not_to_be():
    assert len(PAGES_WITH_COMMANDS) >= 6
    for page in sorted(PAGES.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if "archive" in page.parts:
            continue
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            assert language in LANGUAGES, f"{page}: {language}"
            if language == "sh":
                for line in filter(str.strip, block.splitlines()):
                    assert NOT_RUN.match(line), f"{page}: {line}"


def known_options() -> dict[str, set[str]]:
    lines = (PAGES / "reference" / "cli.md").read_text(encoding="utf-8").split("\n## `rtresponsecam ")[1:]
    return {part.split("`")[0]: set(re.findall(r"`(--[\w-]+)`", part)) for part in lines}


def test_options_in_commands_that_are_not_run_exist():
    known = known_options()
    seen = 0
    for page in (*sorted(PAGES.rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        if "archive" in page.parts or page.name == "cli.md":
            continue
        for line in re.findall(r"^rtresponsecam .*$", page.read_text(encoding="utf-8"), re.MULTILINE):
            words = line.split("#")[0].replace("--quiet", "").split()[1:]
            names = [n for n in known if words[: len(n.split())] == n.split()]
            if words and words[0] == "--help":
                continue
            assert names, f"{page}: {line}"
            options = {w for w in words if w.startswith("--")}
            assert options <= known[names[0]], f"{page}: {line}: {options - known[names[0]]}"
            seen += 1
    assert seen > 20


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_of_the_front_pages_lead_somewhere(name):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / name).read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link


def schema(name: str) -> jsonschema.Draft202012Validator:
    content = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(content)
    return jsonschema.Draft202012Validator(content)


def test_the_result_of_a_study_is_that_of_the_schema(result):
    content = json.loads(json.dumps(result_json(result)))
    schema("result").validate(content)
    del content["lesions"][0]["volume_cc"]
    assert not schema("result").is_valid(content)


def test_the_shipped_card_is_that_of_the_schema():
    content = json.loads((ROOT / "Resources" / "Models" / "phantom" / "model.json").read_text(encoding="utf-8"))
    schema("bundle").validate(content)
    assert not schema("bundle").is_valid({**content, "surprise": 1})


@pytest.mark.skipif(importlib.util.find_spec("latex2mathml") is None, reason="latex2mathml is absent (make docs)")
def test_equations_become_mathml_and_code_stays():
    found = hook("equations").on_page_markdown(
        "a $x_i$ b `$HOME $x$`\n\n$$ y = 2 \\tag{3} $$\n\n```sh\necho $A $B\n```\n"
    )
    assert found.count("<math") == 2
    assert 'id="eq-3"' in found
    assert "`$HOME $x$`" in found
    assert "echo $A $B" in found


def test_every_option_has_a_help_text():
    page = (PAGES / "reference" / "cli.md").read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if re.match(r"\| `--[^|]*\|\s+\|", line)] == []
