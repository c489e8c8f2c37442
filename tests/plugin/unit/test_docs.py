"""The commands, options and links on the pages of the site and in the template's README exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kedro_azure_mlops.cli import COMMANDS, mlops

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
SCRIPTS = TEMPLATE / "operation" / "execution"
SITE = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [
    *SITE,
    *(TEMPLATE / name for name in ("README.md", "AGENTS.md", "SECURITY.md")),
    *(TEMPLATE / "docs").rglob("*.md*"),
]

COMMAND = re.compile(r"kedro mlops ([a-z]+)((?:(?!kedro mlops)[^`#;&\n])*)")
SCRIPT = re.compile(r"\b(train|deploy|retrain|monitor|provision)\.py((?:(?!\.py)[^`#;&\n])*)")
OPTION = re.compile(r"(?<!\S)(--[a-z-]+)")
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+\.md)(?:#[^)]*)?\)")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
TARGET = re.compile(r"(?:`|^|&& )make ([a-z]+)", re.MULTILINE)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def options_of(command: click.Command) -> set[str]:
    """Return the options of a command and of its actions, such as `schedule set`."""
    names = {name for parameter in command.params for name in parameter.opts}
    if isinstance(command, click.Group):
        names = names.union(*map(options_of, command.commands.values()))
    return names | {"--help"}


def targets_of(makefile: Path) -> set[str]:
    """Return the targets of a Makefile, including those of its lists of commands."""
    text = makefile.read_text("utf-8")
    lists = re.findall(r"^(?:HERE|CLOUD) = (.+)", text, re.MULTILINE)
    return {*re.findall(r"^([a-z]+):", text, re.MULTILINE), *" ".join(lists).split()}


def is_page(path: Path) -> bool:
    """Return whether the file exists, possibly under a template name with a condition."""
    names = {re.sub(r"\{%.*?%\}", "", one.name) for one in path.parent.glob("*") if one.is_file()}
    return path.name in names


def unknown_options(rest: str, known: set[str]) -> Iterator[str]:
    """List the options in the rest of a command line that the command does not have."""
    return (name for name in OPTION.findall(rest) if name not in known)


@pages
def test_commands_on_the_page_exist_and_have_these_options(page: Path) -> None:
    """Each `kedro mlops COMMAND --option` can be run as written."""
    faults = []
    with click.Context(mlops) as context:
        for name, rest in COMMAND.findall(page.read_text("utf-8")):
            if name not in COMMANDS:
                faults.append(f"kedro mlops {name}")
                continue
            command = mlops.get_command(context, name)
            assert command is not None
            faults += [
                f"kedro mlops {name} {one}" for one in unknown_options(rest, options_of(command))
            ]
    assert not faults


@pages
def test_scripts_on_the_page_have_these_options(page: Path) -> None:
    """Each `operation/execution/SCRIPT.py --option` can be run as written."""
    faults = []
    for name, rest in SCRIPT.findall(page.read_text("utf-8")):
        text = (SCRIPTS / f"{name}.py").read_text("utf-8")
        known = {"--env", "--help", *re.findall(r'"(--[a-z-]+)"', text)}
        faults += [f"{name}.py {one}" for one in unknown_options(rest, known)]
    assert not faults


@pages
def test_make_targets_on_the_page_exist(page: Path) -> None:
    """Each `make TARGET` is a target of the template's Makefile, or of this repository's."""
    known = targets_of(TEMPLATE / "Makefile") | targets_of(ROOT / "Makefile")
    code = "\n".join(CODE.findall(page.read_text("utf-8")))
    assert not set(TARGET.findall(code)) - known


@pages
def test_links_on_the_page_resolve(page: Path) -> None:
    """Each relative link to a page leads to a file."""
    links = LINK.findall(page.read_text("utf-8"))
    assert not [link for link in links if not is_page(page.parent / link)]


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        (
            "`kedro mlops champion --env dev --history` or -x",
            [("champion", ["--env", "--history"])],
        ),
        ("kedro mlops gate  # not --this", [("gate", [])]),
        (
            "kedro run && kedro mlops gate --env dev && kedro mlops serve --port 1",
            [("gate", ["--env"]), ("serve", ["--port"])],
        ),
        ("`kedro mlops` and `kedro mlops --help`", []),
    ],
    ids=["inline", "comment", "several", "no command"],
)
def test_a_command_is_read_with_its_own_options(
    text: str, commands: list[tuple[str, list[str]]]
) -> None:
    """Text before and after a command does not count as part of it."""
    assert [(name, OPTION.findall(rest)) for name, rest in COMMAND.findall(text)] == commands
