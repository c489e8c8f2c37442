"""Random user edits between releases, and a check that an update preserves them.

The property test and the benchmark use the same seeds.
"""

import hashlib
import re
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.plugin.update.updating import Files, git, lines, read

BINARY = bytes(range(256)) * 4
OWN_TOKEN = re.compile(rb"OWN\d+X\d+Z")


def file_text(name: str, count: int, release: int, at: dict[int, list[int]]) -> str:
    """Return a file of a release, with the marked lines of each release up to it."""
    marks = {f"l{line}": f"TPL{number}-{name}-{line}"
             for number, places in at.items() if number <= release for line in places}  # fmt: skip
    return lines(name, count, **marks)


def release(number: int) -> Files:
    """Return all files of a release of the template; removed ones are None."""
    marks = {2: [8, 30], 3: [20]}
    files: dict[str, str | bytes | None] = {
        ".gitignore": "*.log\n",
        "README.md": file_text("readme", 40, number, marks),
        "Makefile": file_text("makefile", 25, number, {3: [5]}),
        "conf/base/parameters.yml": file_text("parameters", 30, number, {2: [4]}),
        "docs/old.md": file_text("guide", 30, number, {}),
        "src/demo/__init__.py": "",
        "src/demo/train.py": file_text("train", 60, number, marks),
        "src/demo/sample/nodes.py": file_text("nodes", 30, number, {3: [3]}),
        "src/demo/sample/pipeline.py": file_text("pipeline", 30, number, {2: [15]}),
        "picture.png": BINARY + bytes([number]),
        "still.png": BINARY[::-1],
        "gone.cfg": file_text("gone", 12, number, {}),
    }
    if number >= 2:
        files |= {
            "docs/old.md": None,
            "docs/guide.md": file_text("guide", 30, number, {2: [3], 3: [25]}),
            "src/demo/monitor.py": file_text("monitor", 20, number, {2: [1]}),
            "operation/monitoring/README.md": file_text("monitoring", 6, number, {2: [1]}),
            "src/demo/sample/report.py": file_text("report", 20, number, {2: [1]}),
        }
    if number >= 3:
        files |= {"gone.cfg": None, "src/demo/sample/report.py": None}
        files["src/demo/reporting.py"] = file_text("report", 20, number, {2: [1], 3: [18]})
    return files


def files_with_mark(mark: str, number: int) -> set[str]:
    """Return the files with a mark in a release and the previous one."""
    line = f"{mark.split('-')[1]} line "
    return {
        path
        for made_in in (number - 1, number)
        for path, text in release(made_in).items()
        if isinstance(text, str) and line in text
    }


def changes(number: int) -> list[str]:
    """Return the marks that a release adds."""
    texts = (text for text in release(number).values() if isinstance(text, str))
    return sorted({mark for text in texts for mark in re.findall(rf"TPL{number}-\w+-\d+", text)})


@dataclass
class Ledger:
    """The user's changes that an update must preserve."""

    texts: dict[str, str] = field(default_factory=dict)
    """Marks the user wrote, and the file of each."""
    binaries: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    count: int = 0


class User:
    """A user who edits a project at random."""

    def __init__(self, seed: int, root: Path) -> None:
        self.random = Random(seed)  # noqa: S311
        self.root = root
        self.ledger = Ledger()

    def edit_randomly(self, round_: int) -> None:
        """Edit some files."""
        actions: list[Callable[[str], None]] = [
            *[self.replace_line] * 4, *[self.insert] * 3, self.delete_lines, self.reformat,
            self.crlf, self.delete, self.rename, self.move_folder, self.remove_folder,
            self.redraw, self.add, self.add_future_file, self.chmod,
        ]  # fmt: skip
        for _ in range(self.random.randrange(2, 10)):
            self.ledger.count += 1
            self.random.choice(actions)(f"OWN{round_}X{self.ledger.count:03d}Z")
        self.ledger.deleted = {path for path in self.ledger.deleted if not self.path(path).exists()}

    def path(self, name: str) -> Path:
        return self.root / name

    def files(self, *, text: bool = False, unmarked: bool = False) -> list[str]:
        """Return names of editable files; marked files contain edits of the user."""
        records = (".cruft.json", ".copier-answers.yml", ".gitignore")
        contents = {
            name: content for name, content in read(self.root).items() if name not in records
        }
        if text:
            contents = {n: c for n, c in contents.items() if b"\0" not in c and c.count(b"\n") > 4}
        if unmarked:
            drawn = set(self.ledger.binaries.values())
            contents = {n: c for n, c in contents.items() if not OWN_TOKEN.search(c)}
            contents = {
                n: c for n, c in contents.items() if hashlib.sha256(c).hexdigest() not in drawn
            }
        return sorted(contents)

    def edit(self, mark: str, change: Callable[[list[str]], None]) -> None:
        """Change the lines of some text file."""
        names = self.files(text=True)
        if names:
            name = self.random.choice(names)
            text = self.path(name).read_bytes().decode().split("\n")
            change(text)
            self.path(name).write_bytes("\n".join(text).encode())
            if mark in "\n".join(text):
                self.ledger.texts[mark] = name

    def place(self, text: list[str], length: int = 1) -> int | None:
        """Return the start of some unmarked lines."""
        start = self.random.randrange(max(1, len(text) - length))
        block = "\n".join(text[start : start + length])
        return None if re.search(r"OWN\d|TPL\d|[<>=|]{7}", block) else start

    def replace_line(self, mark: str) -> None:
        def change(text: list[str]) -> None:
            if (start := self.place(text)) is not None:
                text[start] = text[start][:3] + mark

        self.edit(mark, change)

    def insert(self, mark: str) -> None:
        self.edit(mark, lambda text: text.insert(self.random.randrange(len(text)), mark))

    def delete_lines(self, mark: str) -> None:
        def change(text: list[str]) -> None:
            if (start := self.place(text, 3)) is not None:
                del text[start : start + 3]

        self.edit(mark, change)

    def reformat(self, mark: str) -> None:
        def change(text: list[str]) -> None:
            text[:] = [f"  {line}" if line else line for line in text]

        self.edit(mark, change)

    def crlf(self, mark: str) -> None:
        def change(text: list[str]) -> None:
            text[:] = [*(line.rstrip("\r") + "\r" for line in text[:-1]), text[-1]]

        self.edit(mark, change)

    def delete(self, _: str) -> None:
        if names := self.files(unmarked=True):
            name = self.random.choice(names)
            self.path(name).unlink()
            self.ledger.deleted.add(name)

    def rename(self, mark: str) -> None:
        if names := self.files(text=True):
            name = self.random.choice(names)
            target = self.path(f"moved/{mark}/{Path(name).name}")
            target.parent.mkdir(parents=True)
            self.path(name).rename(target)
            with target.open("a", encoding="utf-8") as file:
                file.write(f"{mark}\n")
            self.ledger.texts[mark] = name

    def move_folder(self, mark: str) -> None:
        source = self.path(self.random.choice(["src/demo/sample", "docs", "conf"]))
        if source.is_dir():
            (self.root / "moved").mkdir(exist_ok=True)
            source.rename(self.root / "moved" / mark)

    def remove_folder(self, _: str) -> None:
        folder = self.random.choice(["src/demo/sample", "docs", "conf"])
        inside = [name for name in self.files() if name.startswith(f"{folder}/")]
        if inside and set(inside) <= set(self.files(unmarked=True)):
            shutil.rmtree(self.path(folder))
            self.ledger.deleted |= set(inside)

    def redraw(self, mark: str) -> None:
        if names := [name for name in self.files() if name.endswith(".png")]:
            content = BINARY + mark.encode() + b"\0"
            name = self.random.choice(names)
            # The user deliberately replaces an earlier picture.
            before = hashlib.sha256(self.path(name).read_bytes()).hexdigest()
            self.ledger.binaries = {m: h for m, h in self.ledger.binaries.items() if h != before}
            self.path(name).write_bytes(content)
            self.ledger.binaries[mark] = hashlib.sha256(content).hexdigest()

    def add(self, mark: str) -> None:
        self.create(f"src/demo/own_{mark}.py", mark)

    def add_future_file(self, mark: str) -> None:
        coming = ("src/demo/monitor.py", "docs/guide.md", "operation/monitoring/README.md",
                  "src/demo/reporting.py")  # fmt: skip
        self.create(self.random.choice(coming), mark)

    def create(self, name: str, mark: str) -> None:
        path = self.path(name)
        if not path.exists() and (path.parent.is_dir() or not path.parent.exists()):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{mark}\nown\n", encoding="utf-8")
            self.ledger.texts[mark] = name

    def chmod(self, _: str) -> None:
        if names := self.files(text=True):
            path = self.path(self.random.choice(names))
            path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


@dataclass(frozen=True)
class Verdict:
    """The faults of an update."""

    lost: list[str]
    unmentioned: list[str]
    resurrected: list[str]
    wrong_status: bool

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.unmentioned or self.resurrected or self.wrong_status)


def unmerged(root: Path) -> dict[str, list[str]]:
    """Return the conflicting paths and the object names of their versions."""
    versions: dict[str, list[str]] = {}
    for line in git(root, "-c", "core.quotePath=false", "ls-files", "--unmerged").splitlines():
        details, _, path = line.partition("\t")
        versions.setdefault(path, []).append(details.split()[1])
    return versions


def conflicts(root: Path) -> set[str]:
    """Return the paths that a user must resolve, for any tool."""
    files = read(root)
    marked = {n for n, c in files.items() if re.search(rb"^<{7} ", c, re.M)}
    return set(unmerged(root)) | marked | {n for n in files if n.endswith(".rej")}


def judge(user: User, number: int, status: int, output: str) -> Verdict:
    """Return the faults of a project after an update to a release."""
    files, open_ = read(user.root), unmerged(user.root)
    everything = b"\n".join(files.values())
    staged = "".join(git(user.root, "cat-file", "blob", name)
                     for names in open_.values() for name in names)  # fmt: skip
    hashes = {hashlib.sha256(content).hexdigest() for content in files.values()}
    ledger = user.ledger
    lost = [mark for mark in ledger.texts if mark.encode() not in everything]
    lost += [mark for mark, name in ledger.binaries.items() if name not in hashes]
    missing = [mark for mark in changes(number)
               if mark.encode() not in everything and mark not in staged]  # fmt: skip
    unmentioned = [
        mark
        for mark in missing
        if not any(path in output for path in files_with_mark(mark, number))
    ]
    back = [path for path in ledger.deleted if path in files and path not in open_]
    return Verdict(lost, unmentioned, back, bool(status) != bool(conflicts(user.root)))


def resolve_conflicts(root: Path) -> None:
    """Resolve conflicts by keeping both sides, and commit."""
    for name, content in read(root).items():
        path = root / name
        if name.endswith((".rej", ".orig")):
            path.unlink()
        elif re.search(rb"^<{7} ", content, re.M):
            without_base = re.sub(rb"^\|{7} [^\n]*\n.*?(?=^={7})", b"", content, flags=re.M | re.S)
            path.write_bytes(re.sub(rb"^(<{7} |={7}|>{7} )[^\n]*\n", b"", without_base, flags=re.M))
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "settled")
