"""Shell in pipelines and workflows: each defect is found, at its place in the YAML file."""

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import BakedProject

OPTIONS = [
    {"ci_provider": provider, "python_version": version}
    for provider in ("azure_pipelines", "github_actions", "both")
    for version in ("3.11", "3.12", "3.13")
]

GITHUB = """\
on: push
jobs:
  job:
    runs-on: ubuntu-24.04
    steps:
      - name: step
"""
AZURE = """\
pool: {vmImage: ubuntu-24.04}
steps:
  - checkout: self
"""
WINDOWS = AZURE.replace("ubuntu-24.04", "windows-2022")
ACTION = "runs:\n  using: composite\n  steps:\n    - shell: bash\n"


def github(text: str) -> str:
    """Return a workflow whose only step is this one."""
    return GITHUB + textwrap.indent(text, " " * 8)


def azure(text: str, top: str = AZURE) -> str:
    """Return a pipeline whose last step is this one."""
    return top + textwrap.indent(text, "  ")


# what: the file, the code of shellcheck, the text at the place that is told
DEFECTS = {
    "github_one_line": (github("run: echo \"$HOME\"/$1\n"), "SC2086", "$1"),
    "github_single_quoted": (github("run: 'echo ''it is'' $X'\n"), "SC2086", "$X"),
    "github_double_quoted": (github('run: "echo \\"it is\\" $X"\n'), "SC2086", "$X"),
    "github_literal": (github("run: |\n  echo a\n\n  rm -rf $X\n"), "SC2086", "$X"),
    "github_literal_indented": (github("run: |-\n  if true; then\n    cat $X\n  fi\n"),
                                "SC2086", "$X"),
    "github_folded": (github("run: >-\n  echo a\n  $X\n"), "SC2086", "$X"),
    "github_folded_two_lines": (github("run: >\n  echo a\n\n  for f in $(ls); do cat; done\n"),
                                "SC2045", "$(ls)"),
    "github_sh": (github("shell: sh\nrun: '[[ -f x ]]'\n"), "SC3010", "[["),
    "github_expression_unquoted": (github("run: echo ${{ github.ref }}\n"), "SC2086", "${{"),
    "github_action": (ACTION + '      run: |\n        make $@\n', "SC2068", "$@"),
    "github_syntax": (github("run: if true; then echo\n"), "SC1046", "if true"),
    "github_after_expressions": (
        github("run: echo \"${{ a.b }}\" '${{ c.d }}' $X\n"), "SC2086", "$X"),
    "azure_script": (azure("- script: cat $X\n"), "SC2086", "$X"),
    "azure_script_goes_on_after_a_failure": (azure("- script: cd a; rm b\n"), "SC2164", "cd a"),
    "azure_bash": (azure("- bash: |\n    set -e\n    cat $X\n"), "SC2086", "$X"),
    "azure_folded": (azure("- bash: >-\n    cat\n    $X\n"), "SC2086", "$X"),
    "azure_inline_script": (azure(
        "- task: AzureCLI@2\n  inputs:\n    scriptType: bash\n    inlineScript: |\n      cat $X\n"
    ), "SC2086", "$X"),
    "azure_task": (azure("- task: Bash@3\n  inputs:\n    targetType: inline\n    script: cat $X\n"),
                   "SC2086", "$X"),
    "azure_command_line": (azure("- task: CmdLine@2\n  inputs:\n    script: cat $X\n"),
                           "SC2086", "$X"),
    "azure_variable_unquoted": (azure("- bash: cat $(Build.SourcesDirectory)/x\n"),
                                "SC2086", "$(Build"),
    "azure_bash_on_windows": (azure("- bash: cat $X\n", WINDOWS), "SC2086", "$X"),
    "azure_template_expression": (
        "steps:\n  - ${{ if eq(parameters.a, 'b') }}:\n      - script: cat $X\n", "SC2086", "$X"),
    "azure_deployment": (
        "jobs: [{deployment: d, strategy: {runOnce: {deploy: {steps: [{script: cat $X}]}}}}]",
        "SC2086", "$X"),
}  # fmt: skip

GOOD = {
    "github_quoted_expression": github('run: test "${{ a.b }}" = x\n'),
    "github_expression_in_single_quotes": github("run: echo '${{ a.b }}'\n"),
    "github_apostrophe_in_a_comment": github("run: |\n  # it's fine\n  echo '${{ a.b }}'\n"),
    "github_stops_at_a_failure": github("run: |\n  cd a\n  rm b\n"),
    "github_powershell": github("shell: pwsh\nrun: Write-Host $X | Out-Null\n"),
    "github_python": github("shell: python\nrun: print('a' if 1 else $)\n"),
    "github_windows": github("run: echo $Env:X\n").replace("ubuntu-24.04", "windows-2025"),
    "github_default_shell": github("run: echo $Env:X\n").replace(
        "on: push", "on: push\ndefaults: {run: {shell: pwsh}}"
    ),
    "azure_quoted_variable": azure('- script: test "$(Build.Reason)" = Manual\n'),
    "azure_powershell": azure("- powershell: echo $X\n- pwsh: echo $X\n"),
    "azure_powershell_task": azure("- task: PowerShell@2\n  inputs: {script: echo $X}\n"),
    "azure_python_task": azure("- task: PythonScript@0\n  inputs: {script: 'print($X)'}\n"),
    "azure_cli_of_powershell": azure(
        "- task: AzureCLI@2\n  inputs:\n    scriptType: pscore\n    inlineScript: echo $X\n"
    ),
    "azure_script_on_windows": azure("- script: echo %X% & cd a\n", WINDOWS),
    "azure_empty": azure("- script: ''\n"),
    "no_script": "run: {script: [a, b]}\n",
    "empty": "",
}


# Scripts of one line, and the beginning of those of several.
ONE_LINE = re.compile(r"((?:run|script|bash|inlineScript): )(?![|>]).+")
SEVERAL = re.compile(r"(?:run|script|bash|inlineScript): [|>][-+]?\n(?P<indent> +)")


@pytest.fixture(scope="module")
def project(baked: Callable[..., BakedProject]) -> BakedProject:
    """A project that brings the check along."""
    return baked(ci_provider="both")


def check(project: BakedProject, *files: Path | str) -> subprocess.CompletedProcess[str]:
    """Check the shell of some files, as the project's hook does."""
    return project.run(sys.executable, "-m", "tools.checks.shell_in_yaml", *files)


@pytest.mark.parametrize(("text", "code", "there"), DEFECTS.values(), ids=DEFECTS)
def test_a_defect_is_found_where_it_stands(
    project: BakedProject, tmp_path: Path, text: str, code: str, there: str
) -> None:
    file = tmp_path / "file.yml"
    file.write_text(text, encoding="utf-8")
    checked = check(project, file)
    assert checked.returncode == 1, checked.stdout + checked.stderr
    places = re.findall(rf"^{re.escape(str(file))}:(\d+):(\d+): {code} \S", checked.stdout, re.M)
    lines = text.splitlines()
    found = [lines[int(line) - 1][int(column) - 1 :] for line, column in places]
    assert any(place.startswith(there) for place in found), checked.stdout


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_what_is_good_or_no_shell_is_taken(
    project: BakedProject, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "file.yml"
    file.write_text(text, encoding="utf-8")
    checked = check(project, file)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: "-".join(option.values()))
def test_nothing_is_found_in_what_is_rendered(
    baked: Callable[..., BakedProject], option: dict[str, str]
) -> None:
    project = baked(**option)
    files = [n for n in project.files if re.match(r"(\.github|azure_pipelines)/.*\.yml$", n)]
    assert files
    checked = check(project, *sorted(files))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("provider", ["azure_pipelines", "github_actions"])
def test_a_defect_in_what_is_rendered_is_found(
    bake: Callable[..., BakedProject], provider: str
) -> None:
    project = bake(ci_provider=provider)
    names = [n for n in project.files if re.match(r"(\.github|azure_pipelines)/.*\.yml$", n)]
    seeded = 0
    for name in sorted(names):
        text, count = SEVERAL.subn(r"\g<0>cat $SEED; \n\g<indent>", project.read(name))
        text, more = ONE_LINE.subn(r"\1cat $SEED", text)
        (project.path / name).write_text(text, encoding="utf-8")
        seeded += count + more
    assert seeded
    found = re.findall(r"SC2086", check(project, *names).stdout)
    assert len(found) == seeded


class TestCouldNotLook:
    def test_where_a_file_is_not_there(self, project: BakedProject) -> None:
        checked = check(project, "absent.yml")
        assert checked.returncode == 2
        assert "absent.yml: cannot be read as YAML" in checked.stderr

    def test_where_a_file_is_no_yaml(self, project: BakedProject, tmp_path: Path) -> None:
        file = tmp_path / "file.yml"
        file.write_text("a: [b\n", encoding="utf-8")
        checked = check(project, file)
        assert checked.returncode == 2
        assert "file.yml: cannot be read as YAML" in checked.stderr
        assert checked.stdout == ""

    def test_where_there_is_no_shellcheck(self, project: BakedProject, tmp_path: Path) -> None:
        code = "import sys; from tools.checks import shell_in_yaml as s; sys.exit(s.main())"
        start = f"import sys; sys.executable = {str(tmp_path / 'python')!r}; {code}"
        checked = project.run(sys.executable, "-c", start, PATH=str(tmp_path))
        assert checked.returncode == 2
        assert (
            checked.stderr == "shell_in_yaml: shellcheck is not installed here, type: make setup\n"
        )
