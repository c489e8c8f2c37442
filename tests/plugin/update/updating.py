"""Small templates with releases, projects made from them, and updates of those projects."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cookiecutter.main import cookiecutter

from tests.plugin.update.rendering import PROJECT, SOURCES, clean_environment

URL = "https://templates.example/small.git"
WORD = "not-for-others"
# Addresses, and what a record holds of each.
ADDRESSES = [
    (f"https://user:{WORD}@templates.example/small.git", URL),
    (f"https://{WORD}@templates.example/small.git", URL),
    ("git@templates.example:org/small.git", "git@templates.example:org/small.git"),
    (f"ssh://git:{WORD}@templates.example/x", "ssh://git@templates.example/x"),
]
Files = Mapping[str, str | bytes | None]

IDENTITY = {
    "GIT_AUTHOR_NAME": "Test",
    "GIT_AUTHOR_EMAIL": "test@example.com",
    "GIT_COMMITTER_NAME": "Test",
    "GIT_COMMITTER_EMAIL": "test@example.com",
}


def lines(name: str, count: int = 30, **changed: str) -> str:
    """Return a text of numbered lines; `l7="x"` replaces line 7 with x."""
    return "".join(
        changed.get(f"l{number}", f"{name} line {number}") + "\n" for number in range(1, count + 1)
    )


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """Run git with a user name and return its output."""
    process = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=clean_environment(**IDENTITY, GIT_CONFIG_GLOBAL=os.devnull),
        check=False,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
    )
    if check and process.returncode:
        raise AssertionError(process.stderr)
    return process.stdout


def write(folder: Path, files: Files) -> None:
    """Write files, and remove those that are None."""
    for name, content in files.items():
        path = folder / name
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def read(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder except git's; a link counts as its target path."""
    files = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            files[name] = os.fsencode(path.readlink())
        elif path.is_file() and name.partition("/")[0] != ".git":
            files[name] = path.read_bytes()
    return files


@dataclass
class Template:
    """A template in a folder that git redirects an address to."""

    path: Path
    url: str = URL
    questions: dict[str, Any] = field(
        default_factory=lambda: {"project_name": "Demo", "project_slug": "demo"}
    )
    commits: dict[str, str] = field(default_factory=dict)

    @classmethod
    def with_questions(cls, questions: Path, path: Path) -> "Template":
        """Copy the questions and hooks of this template, without its files, into a repository."""
        shutil.copytree(questions, path)
        git(path, "init", "--quiet", "--initial-branch=main")
        text = (questions / "cookiecutter.json").read_text(encoding="utf-8")
        return cls(path, questions=json.loads(text))

    @property
    def shell(self) -> dict[str, str]:
        """The environment in which git finds the template."""
        config = self.path.parent / f"{self.path.name}.gitconfig"
        if not config.exists():
            config.write_text(
                f'[url "{self.path.as_uri()}"]\n\tinsteadOf = {self.url}\n', encoding="utf-8"
            )
        home = self.path.parent / "home"
        home.mkdir(exist_ok=True)
        return clean_environment(GIT_CONFIG_GLOBAL=str(config), HOME=str(home))

    def release(self, tag: str, files: Files, *, root: Files | None = None) -> str:
        """Change files of the project, and of the template itself, and tag the commit."""
        if not (self.path / ".git").exists():
            self.path.mkdir(parents=True)
            git(self.path, "init", "--quiet", "--initial-branch=main")
            git(self.path, "config", "uploadpack.allowAnySHA1InWant", "true")
        write(self.path / PROJECT, files)
        write(self.path, root or {})
        text = json.dumps(self.questions, indent=1)
        (self.path / "cookiecutter.json").write_text(text, encoding="utf-8")
        git(self.path, "add", "--all", "--force")
        git(self.path, "commit", "--quiet", "--allow-empty", "--message", tag)
        git(self.path, "tag", tag)
        self.commits[tag] = git(self.path, "rev-parse", "HEAD").strip()
        return self.commits[tag]

    def checkout(self, tag: str) -> Path:
        """Return a folder with the files of a release."""
        folder = self.path.parent / f"{self.path.name}-{tag}"
        if not folder.exists():
            git(self.path, "worktree", "add", "--quiet", "--detach", str(folder), tag)
        return folder

    def render(self, tag: str, output: Path, **answers: str) -> Path:
        """Render a release."""
        options = {"no_input": True, "default_config": True, "output_dir": str(output)}
        return Path(cookiecutter(str(self.checkout(tag)), extra_context=answers, **options))

    def project(self, tag: str, output: Path, **answers: str) -> "Project":
        """Render a release into a new repository, with its record, and commit it."""
        project = Project(self.render(tag, output, **answers), self)
        git(project.path, "init", "--quiet", "--initial-branch=main")
        project.record(tag, **answers)
        project.commit("rendered")
        return project


@dataclass
class Outcome:
    """The exit status and the output of an update."""

    status: int
    out: str
    err: str

    @property
    def printed(self) -> str:
        """The complete output."""
        return self.out + self.err

    @property
    def report(self) -> list[tuple[str, str]]:
        """Kind and path of each line of the report."""
        kinds = (
            "conflict", "merged", "updated", "added", "removed", "moved", "locked",
            "yours kept", "left deleted", "left out", "already applied",
        )  # fmt: skip
        return [
            (kind, line[19:].partition("  (")[0])
            for line in self.out.splitlines()
            for kind in kinds
            if line.startswith(f"  {kind:<17}")
        ]


@dataclass
class Project:
    """A project made from a small template."""

    path: Path
    template: Template

    def record(self, tag: str, **answers: str) -> None:
        """Write its `.cruft.json`."""
        variables = {"project_name": "Demo", "project_slug": "demo"} | answers
        variables |= {"_template": self.template.url, "_commit": self.template.commits[tag]}
        state = {
            "template": self.template.url,
            "commit": self.template.commits[tag],
            "checkout": tag,
            "context": {"cookiecutter": variables},
            "directory": None,
        }
        write(self.path, {".cruft.json": json.dumps(state, indent=2) + "\n"})

    @property
    def state(self) -> dict[str, Any]:
        """Return its record."""
        return json.loads((self.path / ".cruft.json").read_text(encoding="utf-8"))

    def write(self, files: Files) -> None:
        """Write files, and remove those that are None."""
        write(self.path, files)

    def commit(self, message: str = "edited") -> None:
        """Commit everything."""
        git(self.path, "add", "--all", ".")
        git(self.path, "commit", "--quiet", "--allow-empty", "--message", message)

    def edit(self, files: Files) -> None:
        """Write files and commit them."""
        self.write(files)
        self.commit()

    def move(self, old: str, new: str) -> None:
        """Move a file and commit that."""
        (self.path / new).parent.mkdir(parents=True, exist_ok=True)
        git(self.path, "mv", old, new)
        git(self.path, "commit", "--quiet", "--message", "moved")

    def text(self, name: str) -> str:
        """Return the text of a file."""
        return (self.path / name).read_bytes().decode()

    def has(self, name: str) -> bool:
        """Return whether a file exists."""
        return os.path.lexists(self.path / name)

    def status(self) -> list[str]:
        """Return the status of the work tree, including ignored files."""
        return git(self.path, "status", "--porcelain", "--ignored").splitlines()

    def snapshot(self) -> dict[str, Any]:
        """Return everything that an update may change: files, index, HEAD."""
        return {
            "files": read(self.path),
            "modes": {name: (self.path / name).lstat().st_mode for name in read(self.path)},
            "index": git(self.path, "ls-files", "--stage"),
            "status": self.status(),
            "head": git(self.path, "rev-parse", "HEAD"),
        }

    def update(self, *arguments: str, **environment: str) -> Outcome:
        """Run `kedro mlops update` in the project, in a separate process."""
        process = subprocess.run(
            [sys.executable, "-m", "kedro_azure_mlops", "update", *arguments],
            cwd=self.path,
            env=self.template.shell | {"PYTHONPATH": str(SOURCES)} | environment,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
        return Outcome(process.returncode, process.stdout, process.stderr)


PNG = bytes(range(256)) * 8
MARKERS = ("<<<<<<< yours\n", "=======\n", ">>>>>>> template\n")

# The first release of the template of the scenarios, and the changes of the second.
FIRST: Files = {
    ".gitignore": "*.log\n/private/\n",
    ".template-owned": "README.md\n/notebooks/\n/params.yml\n",
    "README.md": lines("readme"),
    "a.py": lines("a"),
    "dropped.py": lines("dropped"),
    "folder/deep.py": lines("deep"),
    "notebooks/look.ipynb": lines("look"),
    "old.py": lines("old"),
    "params.yml": lines("params"),
    "picture.png": PNG,
    "pyproject.toml": '[project]\nname = "demo"\n',
    "same.py": lines("same"),
    "sample/nodes.py": lines("nodes"),
    "sample/pipeline.py": lines("pipeline"),
}
SECOND: Files = {
    "README.md": lines("readme", l3="TEMPLATE"),
    "a.py": lines("a", l10="TEMPLATE"),
    "added.py": lines("added"),
    "debug.log": "TEMPLATE\n",
    "dropped.py": None,
    "folder/deep.py": lines("deep", l3="TEMPLATE"),
    "new.py": lines("old", l3="TEMPLATE"),
    "notebooks/look.ipynb": lines("look", l3="TEMPLATE"),
    "old.py": None,
    "params.yml": None,
    "picture.png": PNG[::-1],
    "pyproject.toml": '[project]\nname = "demo"\nversion = "2"\n',
    "sample/extra.py": lines("extra"),
    "sample/nodes.py": lines("nodes", l3="TEMPLATE"),
    "settings.yml": lines("params", l3="TEMPLATE"),
}


def two_releases(folder: Path) -> Template:
    """Create the template of the scenarios with both releases."""
    template = Template(folder)
    template.release("v1", FIRST)
    template.release("v2", SECOND)
    return template
