"""The origin of a project: its record, the template's releases, and the answers for a release.

The record is ``.cruft.json``, which cruft reads and writes too. The template's ``migrations.json``
lists renamed and removed questions and choices:

    [{"question": "ci", "renamed": "ci_provider"},
     {"question": "license", "choices": {"GPL": "Proprietary"}},
     {"question": "use_docker", "removed": "Docker is always used"}]
"""

import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.update import git

RECORD = ".cruft.json"
QUESTIONS = "cookiecutter.json"
MIGRATIONS = "migrations.json"
PEELED = "^{commit}"
RELEASE = re.compile(r"v?(\d+(?:\.\d+)*)")

_HELP = "To write it: kedro mlops update --link URL --to TAG --answer key=value"


@dataclass(frozen=True)
class Record:
    """Template, commit and answers of a project."""

    url: str
    commit: str
    tag: str | None
    answers: dict[str, Any]
    directory: str | None
    rest: dict[str, Any]

    def skipped(self, root: Path) -> list[str]:
        """Return the patterns of files that no update may touch, as in cruft.

        Raises
        ------
        OperationError
            If they are not a list of texts, or pyproject.toml with ``[tool.cruft]`` is not valid.
        """
        lists = {RECORD: self.rest.get("skip"), "[tool.cruft] of pyproject.toml": _cruft_skip(root)}
        for place, patterns in lists.items():
            is_list = isinstance(patterns, list) and all(isinstance(p, str) for p in patterns)
            if patterns and not is_list:
                raise OperationError(f"skip in {place} must be a list of texts, not {patterns!r}")
        return [pattern for patterns in lists.values() for pattern in patterns or []]

    @classmethod
    def read(cls, root: Path) -> "Record":
        """Read the record of a project.

        Raises
        ------
        OperationError
            If there is none, or it cannot be read.
        """
        try:
            state = json.loads((root / RECORD).read_bytes())  # in any encoding of Unicode
            variables = state.pop("context")["cookiecutter"]
            texts = {key: state.pop(key) for key in ("template", "commit")}
            texts |= {key: state.pop(key, None) or "" for key in ("checkout", "directory")}
            for key, text in texts.items():
                if not isinstance(text, str):
                    raise TypeError(f"{key} is {text!r}")
            return cls(
                url=texts["template"],
                commit=texts["commit"],
                tag=texts["checkout"] or None,
                answers={k: v for k, v in variables.items() if not k.startswith("_")},
                directory=texts["directory"] or None,
                rest=state,
            )
        except FileNotFoundError:
            message = f"there is no {RECORD} here, which records what a project was made from.\n"
            above = next((folder for folder in root.parents if (folder / RECORD).is_file()), None)
            message += f"Run the command in {above}, which has one" if above else _HELP
            raise OperationError(message) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OperationError(
                f"{RECORD} is not a record of a template ({error!r}).\n{_HELP}"
            ) from error

    def moved(self, commit: str, tag: str | None, answers: dict[str, Any]) -> "Record":
        """Return the record of the same project at another commit."""
        return replace(self, commit=commit, tag=tag, answers=answers)

    def text(self) -> str:
        """Return the record in the format of its file."""
        answers = dict(sorted(self.answers.items()))
        variables = answers | {"_template": self.url, "_commit": self.commit}
        state = {
            "template": self.url,
            "commit": self.commit,
            "checkout": self.tag,
            "context": {"cookiecutter": variables},
            "directory": self.directory,
        } | self.rest
        return json.dumps(state, indent=2, ensure_ascii=False) + "\n"


def _cruft_skip(root: Path) -> Any:
    """Return the patterns in pyproject.toml, which cruft adds to those of the record."""
    file = root / "pyproject.toml"
    text = file.read_text(encoding="utf-8-sig", errors="replace") if file.is_file() else ""
    if "cruft" not in text:
        return None
    import tomllib  # slow to import, and rarely needed

    try:
        return tomllib.loads(text)["tool"]["cruft"]["skip"]
    except KeyError:
        return None
    except (ValueError, TypeError) as error:
        if "[tool.cruft]" not in text:
            return None  # an update merges it as text
        raise OperationError(
            f"[tool.cruft] of pyproject.toml, a list of files to skip, cannot be read: {error}",
            next="correct pyproject.toml and commit it",
        ) from error


def recorded_address(url: str, root: Path) -> str:
    """Return the address of a template as a record holds it.

    A path is relative to the project. Credentials are removed, as by the template's hooks.
    """
    path = root / url
    if path.exists():
        return str(path.resolve())
    if re.match(r"https?://", url):
        return re.sub(r"^(https?://)[^/]*@", r"\1", url)
    return re.sub(r"^([a-z+]+://[^/:@]*):[^/@]*@", r"\1@", url)


def newest(tags: list[str]) -> str | None:
    """Return the tag of the highest release; one with a suffix (1.0rc1) is not a release."""
    releases = {tag: found for tag in tags if (found := RELEASE.fullmatch(tag))}
    return max(
        releases,
        key=lambda tag: [int(number) for number in releases[tag][1].split(".")],
        default=None,
    )


def newest_of(url: str, cwd: Path) -> tuple[str, str] | None:
    """Return tag and commit of a repository's newest release; None if it has none.

    Raises
    ------
    OperationError
        If the repository does not answer.
    """
    process = git.run("ls-remote", "--tags", url, cwd=cwd)
    if process.returncode:
        raise OperationError(unreachable(url, process.stderr))
    lines = (line.split("\t") for line in process.stdout.decode().splitlines())
    commits = {name.removeprefix("refs/tags/"): commit for commit, name in lines}
    tag = newest(list(commits))
    return (tag, commits.get(tag + "^{}", commits[tag])) if tag else None


def unreachable(url: str, complaint: bytes) -> str:
    """Return the message about a repository that does not answer."""
    words = complaint.decode(errors="replace").strip()
    message = f"the template's repository {url} could not be read:\n{words}"
    if "safe.directory" in words:
        return message
    return f"{message}\nIs the network up, and may you read that repository (git ls-remote)?"


@dataclass(frozen=True)
class Template:
    """A copy of the template's repository, with all its history."""

    url: str
    folder: Path

    @classmethod
    def clone(cls, url: str, folder: Path, *, source: str | None = None) -> "Template":
        """Copy a repository, from another address than the one to show if it has credentials.

        Raises
        ------
        OperationError
            If it cannot be read.
        """
        folder.mkdir(parents=True)
        options = ("clone", "--quiet", "--bare", "--")
        cloned = git.run(*options, source or url, folder / "git", cwd=folder)
        if cloned.returncode:
            raise OperationError(unreachable(url, cloned.stderr))
        return cls(url, folder)

    def run(self, *arguments: str | Path) -> str | None:
        """Run git in the copy; return its output, or None if it failed."""
        process = git.run(f"--git-dir={self.folder / 'git'}", *arguments, cwd=self.folder)
        return None if process.returncode else os.fsdecode(process.stdout).strip()

    @property
    def tags(self) -> list[str]:
        """Names of all tags."""
        listed = self.run("for-each-ref", "--format=%(refname:strip=2)", "refs/tags")
        return (listed or "").splitlines()

    def find(self, name: str) -> str:
        """Return the commit that a tag, a branch or a hash names.

        Raises
        ------
        OperationError
            If nothing has this name.
        """
        for reference in (f"refs/tags/{name}", f"refs/heads/{name}", name):
            commit = self.run("rev-parse", "--verify", "--quiet", reference + PEELED)
            if commit:
                return commit
        known = ", ".join(self.tags[-8:]) or "none"
        raise OperationError(f"the template has no tag, branch or commit {name} (tags: {known})")

    def require(self, commit: str) -> None:
        """Fetch the commit that a project was rendered from, if it is missing.

        Raises
        ------
        OperationError
            If the repository no longer has it.
        """
        probe = ("cat-file", "-e", commit + PEELED)
        if self.run(*probe) is not None:
            return
        self.run("fetch", "--quiet", self.url, commit)
        if self.run(*probe) is None:
            raise OperationError(
                f"the commit {commit} that this project was rendered from is not in {self.url}.\n"
                "Was the template's history rewritten, or is `template` in .cruft.json another "
                "repository? Correct .cruft.json: the commit of the release you began with."
            )

    def contains(self, commit: str, older: str) -> bool:
        """Return whether a commit is, or is based on, an older one."""
        return self.run("merge-base", "--is-ancestor", older, commit) is not None

    def checkout(self, commit: str, name: str, directory: str | None) -> Path:
        """Write the files of a commit and return the folder that holds the template.

        Raises
        ------
        OperationError
            If it holds none.
        """
        target = self.folder / name
        target.mkdir()
        index = {"GIT_INDEX_FILE": str(self.folder / f"{name}.index")}
        plain = ("-c", "core.autocrlf=false", "-c", "core.eol=lf")
        places = (f"--git-dir={self.folder / 'git'}", f"--work-tree={target}")
        checkout = ("checkout", "--quiet", "--force", commit, "--", ".")
        git.must(*plain, *places, *checkout, cwd=self.folder, settings=index)
        folder = target / directory if directory else target
        if not (folder / QUESTIONS).is_file():
            place = f" in {directory}" if directory else ""
            raise OperationError(f"commit {commit[:12]} of {self.url} has no {QUESTIONS}{place}")
        return folder


@dataclass
class Answers:
    """The answers for a release, and notes about them for the user."""

    values: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def read_questions(template: Path) -> dict[str, Any]:
    """Return the questions of a release, without its computed variables.

    Raises
    ------
    OperationError
        If they cannot be read.
    """
    try:
        questions = json.loads((template / QUESTIONS).read_text(encoding="utf-8"))
    except ValueError as error:
        raise OperationError(f"{QUESTIONS} of the template is not valid ({error})") from error
    return {key: default for key, default in questions.items() if not key.startswith("_")}


def read_table(template: Path) -> list[dict[str, Any]]:
    """Return the rows of a release's table of migrations; none if it has no table."""
    path = template / MIGRATIONS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def migrate(row: dict[str, Any], answers: Answers, questions: dict[str, Any]) -> None:
    """Apply a row of the table to an answer that no longer fits."""
    question = row["question"]
    if question not in answers.values:
        return
    answer = answers.values[question]
    if "choices" in row:
        if answer in row["choices"] and answer not in questions.get(question, []):
            answers.values[question] = row["choices"][answer]
            answers.notes.append(f"{question}: {answer} became {row['choices'][answer]}")
    elif question in questions:
        return  # asked again since, so the row no longer applies
    elif "renamed" in row:
        answers.values.setdefault(row["renamed"], answers.values.pop(question))
        answers.notes.append(f"{question} is now called {row['renamed']}")
    else:
        del answers.values[question]
        answers.notes.append(f"{question} ({answer}) is no longer asked: {row['removed']}")


def carry_over(recorded: dict[str, Any], given: dict[str, str], template: Path) -> Answers:
    """Return the answers for a release: the recorded ones, replaced by those given now.

    Raises
    ------
    OperationError
        If an answer is given to a question that the release does not have.
    """
    questions = read_questions(template)
    answers = Answers(dict(recorded))
    for row in read_table(template):
        migrate(row, answers, questions)
    for question in [key for key in answers.values if key not in questions]:
        answers.notes.append(f"{question} ({answers.values.pop(question)}) is no longer asked")
    if unknown := sorted(set(given) - set(questions)):
        asked = ", ".join(questions)
        raise OperationError(
            f"the template has no question {', '.join(unknown)}; its questions are {asked}"
        )
    answers.values |= given
    return answers
