"""Jobs upload exactly the files that Azure ML's client would upload, without secrets."""

import os
import random
import re
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path

import pytest

from kedro_azure_mlops.azure.snapshot import (
    content_digest,
    copy_snapshot,
    files_to_upload,
    refuse_links_that_leave,
    snapshot_digest,
)
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.init import initialise
from tests.plugin.helpers import REPOSITORY, ROOT

TEMPLATE = REPOSITORY / "{{cookiecutter.project_slug}}"
# Uploaded files can be read by every user of the workspace, so these must not be uploaded.
TRAPS = (
    ".env",
    ".env.prod",
    ".git/config",
    ".azure/config",
    ".azureml/config.json",
    "config.json",
    "id_rsa",
    "server.pem",
    "src/.netrc",
    "src/.pypirc",
    "src/package/client.pfx",
    "src/package/private-1.0-py3-none-any.whl",
    "operation/.secrets.baseline",
    "operation/azureml/id_ed25519",
    "requirements/index.key",
    "build/sbom.json",
    "data/raw/hours.csv",
    "data/processed/scores.csv",
    "mlruns.db",
    "mlruns.db-journal",
    "mlartifacts/0/model.pkl",
    "notebooks/look.ipynb",
    "build/azureml/dev.yml",
    "build/local/dev/train/log.txt",
    "docs/data/table.csv",
    "operation/monitoring/alerts.yml",
    ".venv/bin/activate",
    ".venv/lib/python3.12/site-packages/kedro/__init__.py",
    "src/.env",
    "src/package/.env.local",
    "src/package/.git/HEAD",
    "src/package/key.pem",
    "src/package/id_work",
    "src/package/id_dsa.pub",
    "src/package/credentials.json",
    "src/venv/lib/site.py",
    "src/package/.ipynb_checkpoints/nodes.py",
    "src/package/__pycache__/nodes.cpython-312.pyc",
    "src/package/look.ipynb",
    "src/package.egg-info/PKG-INFO",
    "src/.venv/bin/python",
    "src/venv/pyvenv.cfg",
    "operation/.env",
    "operation/config.json",
    "operation/execution/private.key",
    "operation/execution/id_deploy",
    "operation/azureml/.azureml/config.json",
    "operation/configuration/dev/credentials.yml",
    "operation/configuration/prod/credentials_blob.yml",
    "operation/configuration/local/credentials.yml",
    "operation/configuration/local/catalog.yml",
    "operation/tests/unit/test_nodes.py",
    "operation/tests/conftest.py",
    "requirements/.env",
)
WANTED = (
    ".telemetry",
    "pyproject.toml",
    "requirements/run.txt",
    "src/package/__init__.py",
    "src/package/data/__init__.py",
    "src/package/environment.py",
    "src/package/id_lookup.py",
    "src/package/id_rsa_reader.py",
    "src/package/credentials_check.py",
    "src/package/sql/query.sql",
    "operation/__init__.py",
    "operation/execution/train.py",
    "operation/configuration/base/catalog.yml",
    "operation/configuration/dev/azureml.yml",
    "operation/configuration/local/README.md",
)
RULES = """
# comment

*.log
!keep.log
/data/
!/data/kept/**
secret*
build/
  /leading
trailing\x20
docs/**/draft.md
**/cache/**
\\!bang
\\#hash
[ab]?.txt
with space/
ünï/*
nested/*
!nested/back.py
"""


def write(root: Path, names: Iterable[str], text: str = "x") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text} {name}", encoding="utf-8")


def uploaded_names(root: Path) -> list[str]:
    return [file.as_posix() for file in files_to_upload(root)]


def uploaded_by_azure(root: Path) -> list[str]:
    """Return the files that the real client would upload as the code of a step."""
    with warnings.catch_warnings():  # about marshmallow, when it is imported first
        warnings.simplefilter("ignore")
        from azure.ai.ml._utils._asset_utils import get_upload_files_from_folder
        from azure.ai.ml.entities._component.code import ComponentIgnoreFile

    rules = ComponentIgnoreFile(root)
    return sorted(name for _, name in get_upload_files_from_folder(str(root), ignore_file=rules))


def read_by_docker(root: Path, rules: str) -> list[str]:
    """Return the files that `docker build` reads: the last rule matching a file or parent wins."""
    lines = [line.strip() for line in rules.splitlines()]
    patterns = [
        (line.startswith("!"), _docker_pattern(line.removeprefix("!").strip("/")))
        for line in lines
        if line and not line.startswith("#")
    ]
    found = []
    for file in root.rglob("*"):
        name = file.relative_to(root).as_posix()
        candidates = [name, *(parent.as_posix() for parent in Path(name).parents)][:-1]
        matches = [
            is_exception
            for is_exception, pattern in patterns
            if any(map(pattern.fullmatch, candidates))
        ]
        if file.is_file() and (not matches or matches[-1]):
            found.append(name)
    return sorted(found)


def _docker_pattern(pattern: str) -> re.Pattern[str]:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(re.sub(r"\*\*/|\*\*|.", lambda m: parts.get(m[0], re.escape(m[0])), pattern))


@pytest.fixture
def trapped(tmp_path: Path) -> Path:
    """A project with the template's ignore files and files that must not be uploaded."""
    root = tmp_path / "project"
    write(root, [*TRAPS, *WANTED])
    for name in (".amlignore", ".dockerignore"):
        (root / name).write_text((TEMPLATE / name).read_text(encoding="utf-8"), encoding="utf-8")
    (root / ".gitignore").write_text("!*\n", encoding="utf-8")
    return root


def test_the_template_rules_upload_only_what_a_run_needs(trapped: Path) -> None:
    assert uploaded_names(trapped) == sorted(WANTED)


def test_azure_uploads_the_same_files_with_the_template_rules(trapped: Path) -> None:
    assert uploaded_names(trapped) == uploaded_by_azure(trapped)


def test_docker_reads_the_same_files(trapped: Path) -> None:
    rules = (trapped / ".dockerignore").read_text(encoding="utf-8")
    assert read_by_docker(trapped, rules) == uploaded_names(trapped)


def test_a_project_uploads_its_code_and_configuration() -> None:
    found = uploaded_names(ROOT)
    assert {"pyproject.toml", ".telemetry", "requirements/run.txt"} <= set(found)
    assert "conf/local/README.md" in found
    assert {name.split("/")[0] for name in found} == {
        ".telemetry", "conf", "pyproject.toml", "requirements", "src",
    }  # fmt: skip
    assert not [name for name in found if "__pycache__" in name]


def test_the_rules_that_init_writes_exclude_the_same_files(tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns("azureml.yml", "mlops.yml", ".*"))
    initialise(root)
    modules = {"src/plant/id_lookup.py", "src/plant/credentials_check.py"}
    write(root, [name.replace("operation/configuration/", "conf/") for name in TRAPS])
    write(root, modules)
    found = uploaded_names(root)
    expected = {"src/plant/nodes.py", "conf/base/catalog.yml", "pyproject.toml"} | modules
    assert expected <= set(found)
    traps = {name.replace("operation/configuration/", "conf/") for name in TRAPS}
    assert sorted(traps & set(found)) == []


def write_hostile_files(root: Path) -> None:
    """Write files that ignore rules may easily match wrongly."""
    write(
        root,
        [
            "a.py", "x.log", "keep.log", "deep/er/x.log", "deep/er/keep.log",
            "data/x.csv", "data/kept/y.csv", "data/kept/z/w.csv", "other/data/x.csv",
            "secret", "secrets.yml", "deep/secret.d/x", "build", "deep/build/x", "leading",
            "deep/leading", "trailing", "docs/draft.md", "docs/a/b/draft.md", "docs/a/final.md",
            "cache", "a/cache/b/c", "!bang", "#hash", "a1.txt", "c1.txt", "deep/b2.txt",
            "with space/x y.py", "deep/with space/x", "ünï/cödé.py", "naïve ☃.txt",
            "nested/no.py", "nested/back.py", "nested/sub/no.py", "nested/sub/.gitignore",
            ".env", ".git/HEAD", "config.json", "key.pem", ".venv/bin/python",
            "pkg/__pycache__/a.pyc", "__pycache__", ".hidden/x", "..dots/x", "pkg/mod.py",
        ],
    )  # fmt: skip
    (root / "nested/sub/.gitignore").write_text("*\n", encoding="utf-8")
    (root / "pkg/empty.txt").touch()
    (root / "pkg/empty_folder").mkdir()
    outside = root.parent / "outside"
    write(outside, ["given.py", "x.log", "folder/code.py", "secret"])
    for link, target in {
        "to_file": "pkg/mod.py",
        "to_folder": "pkg",
        "to_ignored": "data",
        "deep/to_kept": "../data/kept",
        "out_file": "../outside/given.py",
        "out_file.log": "../outside/given.py",
        "out_folder": "../outside",
        "chain": "out_file",
    }.items():
        (root / link).symlink_to(target)


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        (None, ""),
        (".amlignore", RULES),
        (".gitignore", RULES),
        (".amlignore", "*\n!/pkg/**\n!*.md\n/pkg/**/*.pyc\n"),
        (".amlignore", "*\n!/pkg/**\n!/data/*/y.csv\n!/with space/**\n!ünï/\n!/.*/**\n"),
        (".amlignore", "/*\n!/docs/\n!/nested/sub\n/docs/a/b\n!/deep/er/*.log\n"),
        (".amlignore", ""),
    ],
)
def test_a_hostile_folder_is_uploaded_as_by_azure(
    tmp_path: Path, file: str | None, rules: str
) -> None:
    root = tmp_path / "project"
    write_hostile_files(root)
    if file:
        (root / file).write_text(rules, encoding="utf-8")
    assert uploaded_names(root) == uploaded_by_azure(root)


def test_amlignore_replaces_gitignore_only_in_the_root(tmp_path: Path) -> None:
    write(tmp_path, ["a.py", "b.py", "sub/c.py"])
    (tmp_path / ".gitignore").write_text("a.py\n", encoding="utf-8")
    (tmp_path / ".amlignore").write_text("b.py\n", encoding="utf-8")
    (tmp_path / "sub/.amlignore").write_text("*\n", encoding="utf-8")
    assert uploaded_names(tmp_path) == [
        ".amlignore",
        ".gitignore",
        "a.py",
        "sub/.amlignore",
        "sub/c.py",
    ]
    assert uploaded_names(tmp_path) == uploaded_by_azure(tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_random_rules_are_interpreted_as_by_azure(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    words = ["a", "b", "ab", "a.b", ".a", "a b", "é"]
    pieces = [*words, "*", "**", "a*", "?", "[ab]", "[!a]", "*.b"]
    for _ in range(40):
        write(tmp_path, [_unused_name(tmp_path, [rng.choice(words) for _ in range(4)])])
    for _ in range(10):
        rules = "\n".join(_random_rule(rng, pieces) for _ in range(rng.randint(1, 6)))
        (tmp_path / ".amlignore").write_text(rules, encoding="utf-8")
        assert uploaded_names(tmp_path) == uploaded_by_azure(tmp_path), rules


def _unused_name(root: Path, parts: list[str]) -> str:
    """Return a name whose parent folders are not existing files."""
    for depth in range(1, len(parts)):
        if (root / "/".join(parts[:depth])).is_file():
            parts[depth - 1] += "_"
    path = root / "/".join(parts)
    return "/".join(parts) + ("_file" if path.is_dir() else "")


def _random_rule(rng: random.Random, pieces: list[str]) -> str:
    parts = [rng.choice(pieces) for _ in range(rng.randint(1, 3))]
    text = rng.choice(["", "/"]) + "/".join(parts) + rng.choice(["", "/"])
    return rng.choice(["", "!"]) + (text if text.strip("/*") else f"{text}a")


def test_ignored_folders_are_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "project"
    write(root, [*TRAPS, *WANTED])
    shutil.copy(TEMPLATE / ".amlignore", root)
    searched, iterdir = [], Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: searched.append(path) or iterdir(path))
    uploaded_names(root)
    looked = {folder.relative_to(root).as_posix() for folder in searched}
    assert "src/package" in looked
    assert not looked & {".venv", "data", ".git", "build", "notebooks", "operation/tests"}


@pytest.mark.parametrize("line", ["[^a]b", "a[b", "!/", "/**/", "!", "x\\"])
def test_rules_that_git_and_azure_read_differently_are_rejected(tmp_path: Path, line: str) -> None:
    (tmp_path / ".amlignore").write_text(f"*\n{line}\n", encoding="utf-8")
    with pytest.raises(OperationError, match=r"\.amlignore line 2"):
        uploaded_names(tmp_path)


@pytest.mark.parametrize("line", ["[!a]b", "a[b]", "!/a", "/**/a", "\\!", "/", "# [^a]"])
def test_rules_that_git_and_azure_read_alike_are_accepted(tmp_path: Path, line: str) -> None:
    write(tmp_path, ["a", "ab", "!"])
    (tmp_path / ".amlignore").write_text(f"*\n{line}\n", encoding="utf-8")
    assert uploaded_names(tmp_path) == uploaded_by_azure(tmp_path)


@pytest.mark.parametrize(
    ("link", "target", "message"),
    [
        ("code.py", "../outside/given.py", "code.py is a link that points out of the project"),
        ("shared", "../outside", "shared is a link that points out"),
        ("pkg/gone.py", "nowhere.py", "pkg/gone.py is a link that points to nothing"),
    ],
)
def test_links_out_of_the_project_are_rejected(
    tmp_path: Path, link: str, target: str, message: str
) -> None:
    root = tmp_path / "project"
    write(root, ["pkg/mod.py"])
    write(tmp_path / "outside", ["given.py"])
    (root / link).symlink_to(target)
    with pytest.raises(OperationError, match=message):
        refuse_links_that_leave(root, files_to_upload(root))
    with pytest.raises(OperationError, match=message):
        copy_snapshot(root, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_links_within_the_project_are_copied_as_files(tmp_path: Path) -> None:
    root, copy = tmp_path / "project", tmp_path / "copy"
    write(root, ["pkg/mod.py", "pkg/sub/x.py"])
    (root / "same.py").symlink_to("pkg/mod.py")
    (root / "also").symlink_to("pkg/sub")
    refuse_links_that_leave(root, files_to_upload(root))
    copy_snapshot(root, copy)
    assert (copy / "same.py").read_text() == "x pkg/mod.py"
    assert not (copy / "same.py").is_symlink()
    assert (copy / "also/x.py").read_text() == "x pkg/sub/x.py"


@pytest.mark.parametrize(
    ("link", "target"), [("pkg/up", ".."), ("pkg/here", "."), ("far", "../..")]
)
def test_circular_links_are_rejected(tmp_path: Path, link: str, target: str) -> None:
    root = tmp_path / "a" / "project"
    write(root, ["pkg/mod.py"])
    (root / link).symlink_to(target)
    with pytest.raises(OperationError, match=f"{link} is a link to a folder that contains it"):
        uploaded_names(root)


def test_a_copy_has_empty_files_and_no_empty_folders(tmp_path: Path) -> None:
    root, copy = tmp_path / "project", tmp_path / "copy"
    (root / "empty/folder").mkdir(parents=True)
    (root / "empty.txt").touch()
    copy_snapshot(root, copy)
    assert [path.name for path in copy.rglob("*")] == ["empty.txt"]


def test_a_project_folder_may_be_a_link(tmp_path: Path) -> None:
    write(tmp_path / "real", ["src/a.py", "b.py"])
    (tmp_path / "real/.amlignore").write_text("*\n!/src/**\n", encoding="utf-8")
    (tmp_path / "link").symlink_to("real")
    assert uploaded_names(tmp_path / "link") == ["src/a.py"]


def test_the_digest_depends_on_names_and_bytes_of_uploaded_files(tmp_path: Path) -> None:
    write(tmp_path, ["a.py", "b.py", "ignored.txt"])
    (tmp_path / ".amlignore").write_text("*.txt\n", encoding="utf-8")
    before = snapshot_digest(tmp_path)
    write(tmp_path, ["ignored.txt"], text="other")
    os.utime(tmp_path / "a.py", (0, 0))
    assert snapshot_digest(tmp_path) == before
    write(tmp_path, ["a.py"], text="other")
    changed = snapshot_digest(tmp_path)
    write(tmp_path, ["a.py"])
    assert snapshot_digest(tmp_path) == before != changed
    (tmp_path / "a.py").rename(tmp_path / "c.py")
    assert snapshot_digest(tmp_path) != before


def test_the_digest_of_data_does_not_depend_on_its_path(tmp_path: Path) -> None:
    write(tmp_path, ["one/a.csv", "one/b/c.csv"])
    (tmp_path / "one").rename(tmp_path / "two")
    write(tmp_path, ["one/a.csv", "one/b/c.csv"])
    for name in ("a.csv", "b/c.csv"):
        (tmp_path / "two" / name).write_bytes((tmp_path / "one" / name).read_bytes())
    assert content_digest(tmp_path / "one") == content_digest(tmp_path / "two")
    assert content_digest(tmp_path / "one/a.csv") == content_digest(tmp_path / "two/a.csv")
    (tmp_path / "two/a.csv").write_text("other", encoding="utf-8")
    assert content_digest(tmp_path / "one") != content_digest(tmp_path / "two")
