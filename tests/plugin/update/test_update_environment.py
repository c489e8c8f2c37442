"""An update needs only an environment with cookiecutter, which it creates."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugin.update.rendering import ROOT, SOURCES, USERS_ENVIRONMENT
from tests.plugin.update.updating import Outcome, Project, Template, lines, two_releases

HERE = Path(sysconfig.get_path("purelib"))
# the requirements of cookiecutter and the command line
RENDERING = (
    *("arrow", "binaryornot", "certifi", "chardet", "charset_normalizer", "click", "cookiecutter"),
    *("dateutil", "idna", "jinja2", "markdown_it", "markupsafe", "mdurl", "pygments", "requests"),
    *("rich", "slugify", "six", "text_unidecode", "tzdata", "urllib3", "yaml"),
)
# Replaces `uv`: creates an environment and links the packages of this one into it.
UV = """#!{python}
import os, subprocess, sys
from pathlib import Path

words = sys.argv[1:]
with Path({calls!r}).open("a") as file:
    print(*words, file=file)
if os.environ.get("NO_INDEX") and "pip" in words:
    sys.exit("error: could not connect")
if words[0] == "venv":
    command = [{python!r}, "-m", "venv", "--without-pip", words[-1]]
    sys.exit(subprocess.run(command).returncode)
environment = Path(words[words.index("--python") + 1]).parent.parent
(site,) = environment.glob("lib/*/site-packages")
(site / "linked.pth").write_text({linked!r})
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A template with two releases."""
    return two_releases(tmp_path_factory.mktemp("template") / "small")


@pytest.fixture
def project(template: Template, tmp_path: Path) -> Project:
    """A project made from the first release."""
    return template.project("v1", tmp_path)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages: cookiecutter and its requirements, without Kedro."""
    folder = tmp_path_factory.mktemp("packages")
    for name in RENDERING:
        if (HERE / name).exists():
            (folder / name).symlink_to(HERE / name)
    for module in ("six.py", "typing_extensions.py", "_yaml"):
        if (HERE / module).exists() and not (folder / module).exists():
            (folder / module).symlink_to(HERE / module)
    for metadata in HERE.glob("cookiecutter-*.dist-info"):
        (folder / metadata.name).symlink_to(metadata)
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The interpreter of an environment with only click."""
    folder = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/*/site-packages")
    (site / "click").symlink_to(HERE / "click")
    return folder / "bin" / "python"


@pytest.fixture
def uv(tmp_path: Path, packages: Path) -> Iterator[Path]:
    """A folder with a stand-in for uv that records its calls."""
    folder = tmp_path / "programs"
    folder.mkdir()
    text = UV.format(python=sys.executable, calls=str(folder / "calls"), linked=f"{packages}\n")
    (folder / "uv").write_text(text, encoding="utf-8")
    (folder / "uv").chmod(0o755)
    yield folder


def update(python: Path, project: Project, *arguments: str, **variables: str) -> Outcome:
    """Update with another interpreter."""
    process = subprocess.run(
        [python, "-m", "kedro_azure_mlops", "update", *arguments],
        cwd=project.path,
        env=project.template.shell | {"PYTHONPATH": str(SOURCES)} | variables,
        capture_output=True,
        text=True,
    )
    return Outcome(process.returncode, process.stdout, process.stderr)


def path_with(programs: Path) -> dict[str, str]:
    return {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


def test_an_environment_is_created_once_and_reused(
    bare: Path, uv: Path, project: Project, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    variables = path_with(uv) | {"XDG_CACHE_HOME": str(cache)}
    dry = update(bare, project, "--dry-run", **variables)
    assert dry.status == 0, dry.printed
    assert "installing cookiecutter into" in dry.err
    calls = (uv / "calls").read_text(encoding="utf-8").splitlines()
    assert [call.split()[0] for call in calls] == ["venv", "pip"]
    assert "--require-hashes" in calls[1]
    assert "--compile-bytecode" in calls[1], "or each update would compile cookiecutter"
    again = update(bare, project, **variables)
    assert again.status == 0, again.printed
    assert "installing" not in again.err
    assert project.text("a.py") == lines("a", l10="TEMPLATE")
    assert (uv / "calls").read_text(encoding="utf-8").splitlines() == calls
    assert len(list((cache / "kedro-azure-mlops").iterdir())) == 1, "no draft is left"


def test_an_environment_whose_python_is_gone_is_created_again(
    bare: Path, uv: Path, project: Project, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    variables = path_with(uv) | {"XDG_CACHE_HOME": str(cache)}
    assert update(bare, project, "--dry-run", **variables).status == 0
    (python,) = cache.glob("*/*/bin/python")
    python.unlink()
    python.symlink_to(tmp_path / "removed" / "python")
    again = update(bare, project, **variables)
    assert again.status == 0, again.printed
    assert "installing cookiecutter into" in again.err
    assert python.exists()
    assert len(list((cache / "kedro-azure-mlops").iterdir())) == 1, "no draft is left"


def test_a_failed_installation_is_explained_and_leaves_no_files(
    bare: Path, uv: Path, project: Project, tmp_path: Path
) -> None:
    before = project.snapshot()
    variables = path_with(uv) | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    failed = update(bare, project, **variables, NO_INDEX="1")
    assert failed.status == 2
    assert "could not connect" in failed.err
    assert "PYTHONPATH=$(ls wheels/*.whl)" in failed.err
    assert "Traceback" not in failed.err
    assert project.snapshot() == before
    assert list((tmp_path / "cache" / "kedro-azure-mlops").iterdir()) == []
    assert update(bare, project, **variables).status == 0


def test_check_installs_no_packages(bare: Path, uv: Path, project: Project) -> None:
    checked = update(bare, project, "--check", **path_with(uv))
    assert checked.status == 1, checked.printed
    assert not (uv / "calls").exists()


def test_a_python_with_cookiecutter_can_update_from_the_wheel(
    bare: Path, packages: Path, project: Project, tmp_path: Path
) -> None:
    """Uses the command that the message suggests for a broken environment."""
    wheel = tmp_path / "kedro_azure_mlops-0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in (SOURCES / "kedro_azure_mlops").rglob("*"):
            if file.is_file() and file.suffix != ".pyc":
                archive.write(file, file.relative_to(SOURCES))
    path = os.pathsep.join((str(wheel), str(packages)))
    # the renderer ignores PYTHONPATH, so its packages are installed, as in an environment
    (site,) = bare.parent.parent.glob("lib/*/site-packages")
    (site / "linked.pth").write_text(f"{packages}\n", encoding="utf-8")
    outcome = update(bare, project, PYTHONPATH=path)
    assert outcome.status == 0, outcome.printed
    assert project.text("a.py") == lines("a", l10="TEMPLATE")
    assert project.update("--abort").status == 0


def test_the_lock_pins_cookiecutter_with_hashes() -> None:
    text = (SOURCES / "kedro_azure_mlops" / "update" / "requirements.txt").read_text("utf-8")
    pins = [line for line in text.splitlines() if "==" in line and not line.startswith((" ", "#"))]
    assert any(pin.startswith("cookiecutter==2.") for pin in pins)
    assert text.count("--hash=sha256:") >= len(pins)
    assert not [pin for pin in pins if pin.startswith(("kedro", "mlflow"))]


@pytest.mark.slow
@pytest.mark.parametrize("uv", [True, False], ids=["by_uv", "by_pip"])
def test_the_lock_can_be_installed(bare: Path, project: Project, tmp_path: Path, uv: bool) -> None:
    """Uses the package index of the user who runs the tests."""
    ours = ROOT / ".uv" / "bin" / "uv"
    if uv and not ours.exists():
        pytest.skip("uv is not installed in .uv: sh tools/uv.sh --version")
    if uv:
        (project.path / ".uv" / "bin").mkdir(parents=True)
        (project.path / ".uv" / "bin" / "uv").symlink_to(ours)
    index = {k: v for k, v in USERS_ENVIRONMENT.items() if k.startswith(("UV_", "PIP_", "SSL_"))}
    index |= {"UV_FIND_LINKS": "gone", "PIP_FIND_LINKS": "gone"}
    outcome = update(bare, project, XDG_CACHE_HOME=str(tmp_path / "cache"), **index)
    if outcome.status == 2 and "could not be created" in outcome.err:
        pytest.skip("no package index is reachable")
    assert outcome.status == 0, outcome.printed
    assert project.text("a.py") == lines("a", l10="TEMPLATE")


def test_a_closed_pipe_ends_an_update_quietly(project: Project, tmp_path: Path) -> None:
    with (tmp_path / "errors").open("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "kedro_azure_mlops", "update", "--dry-run"],
            cwd=project.path,
            env=project.template.shell | {"PYTHONPATH": str(SOURCES)},
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert process.stdout
        process.stdout.close()
        assert process.wait(timeout=60) == 141
        errors.seek(0)
        output = errors.read()
    assert "Traceback" not in output
    assert "Exception" not in output


def test_a_bug_is_not_reported_as_conflicts(project: Project, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    broken = "import kedro_azure_mlops.update.report as r\nr.make_report = lambda sides: 1 / 0\n"
    (site / "sitecustomize.py").write_text(broken, encoding="utf-8")
    before = project.snapshot()
    failed = project.update(PYTHONPATH=os.pathsep.join((str(site), str(SOURCES))))
    assert failed.status == 2
    assert "ZeroDivisionError" in failed.err
    assert "this is a bug in the update" in failed.err
    assert project.snapshot() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--check", "--abort"), "give one"),
        (("--pull-request", "--answer", "a=b"), "cannot be combined with --answer"),
        (("--nothing",), "No such option"),
        (("--check", "--to", "v2"), "--check and --abort cannot be combined"),
        (("--check", "--answer", "a=b"), "--check and --abort cannot be combined"),
        (("--abort", "--to", "v2"), "--check and --abort cannot be combined"),
        (("--abort", "--answer", "a=b"), "--check and --abort cannot be combined"),
        (("--to", ""), "must not be empty"),
        (("--link", ""), "must not be empty"),
        (("--link", "", "--check"), "give one"),
    ],
)
def test_incompatible_options_are_refused(
    project: Project, arguments: tuple[str, ...], words: str
) -> None:
    before = project.snapshot()
    refused = project.update(*arguments)
    assert refused.status == 2
    assert words in refused.err
    assert project.snapshot() == before
