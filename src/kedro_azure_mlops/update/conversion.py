"""Convert files to blobs, and blobs to files, as the project's own git does.

The project's attributes (``.gitattributes``, ``info/attributes``) name filters such as git-lfs,
line endings and encodings. Git applies all of them itself: it runs with the project's git directory
and a folder that stands in for the work tree and contains the project's ``.gitattributes``.
"""

import codecs
import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.update import git
from kedro_azure_mlops.update.git import Entries, Repository, index_lines, words

ATTRIBUTES = ".gitattributes"
NO_VALUE = ("unspecified", "unset", "set")
SUBMODULE, LINK = "160000", "120000"
# The temporary name of a .gitattributes file that is content, not a rule.
SHELVED = ".gitattributes~content"
LFS = re.compile(rb"filter=lfs\b")
ENCODING = "working-tree-encoding"


class Conversion:
    """Converts between files and blobs by the attributes in the project's commit.

    Parameters
    ----------
    repository
        The project, without uncommitted changes.
    scratch
        A folder for stand-ins for the work tree.
    yours
        The files of the commit.
    """

    def __init__(self, repository: Repository, scratch: Path, yours: Entries) -> None:
        self.repository = repository
        self.scratch = scratch
        self.stand_ins = self.indexes = 0
        self.outer = dict(_rules_above(repository))
        self.inner = dict(_rules_within(repository, yours))

    def stand_in(self) -> Path:
        """Return the project's folder in a new, empty stand-in for the work tree."""
        self.stand_ins += 1
        top = self.scratch / f"work-tree-{self.stand_ins}"
        folder = top / self.repository.prefix
        folder.mkdir(parents=True)
        _write_rules(top, self.outer)
        return folder

    def move_in(self, folder: Path) -> Path:
        """Move a folder to the project's path in a new stand-in for the work tree."""
        place = self.stand_in()
        place.rmdir()
        folder.rename(place)
        return place

    def store(self, place: Path) -> Entries:
        """Store the files of a stand-in and return their names.

        Its own ``.gitattributes`` are stored as content; the project's are applied.
        """
        shelved = {
            str(PurePosixPath(path).with_name(SHELVED)): path for path in _rules_in(files_of(place))
        }
        for name, path in shelved.items():
            (place / path).rename(place / name)
        files = files_of(place)
        _write_rules(place, self.inner)
        entries = self.store_files(place, files)
        return {shelved.get(path, path): entry for path, entry in entries.items()}

    def store_files(self, place: Path, modes: dict[str, str]) -> Entries:
        """Store files of a stand-in by the attributes in it."""
        plain = [path for path, mode in modes.items() if mode != LINK]
        self._encode(place, plain)
        names = self._hash(place, plain)
        for path in modes.keys() - names.keys():
            target = os.fsencode(os.readlink(place / path))  # noqa: PTH115 - the unchanged text
            names[path] = self._git(place, "hash-object", "-w", "--stdin", stdin=target).decode()
        return {path: (mode, names[path].strip()) for path, mode in modes.items()}

    def store_text(self, path: str, text: str) -> str:
        """Store a text as a file of the project and return its object name."""
        place = self.stand_in()
        _write_rules(place, self.inner | {path: text.encode("utf-8")})
        return self.store_files(place, {path: "100644"})[path][1]

    def export(self, entries: Entries, place: Path) -> None:
        """Write files into a stand-in."""
        files = {path: entry for path, entry in entries.items() if entry[0] != SUBMODULE}
        self.indexes += 1
        index = {"GIT_INDEX_FILE": str(self.scratch / f"index-{self.indexes}")}
        lines = index_lines(files, self.repository.prefix)
        self._git(place, "update-index", "-z", "--index-info", stdin=lines, settings=index)
        self._git(place, "checkout-index", "--all", "--force", settings=index)

    def follow(self, yours: Entries, merged: Entries) -> bool:
        """Convert the updated files again if the update changes attributes; return whether it does.

        The merge used the old attributes.
        """
        if not any(yours.get(p) != merged.get(p) for p in _rules_in([*yours, *merged])):
            return False
        rules = {path: merged[path] for path in _rules_in(merged)}
        written = {
            path: entry
            for path, entry in merged.items()
            if yours.get(path) != entry and path not in rules and entry[0] not in (SUBMODULE, LINK)
        }
        folder = self.stand_in()
        _write_rules(folder, self.inner)
        self.export(written, folder)
        for path in self.inner:
            (folder / path).unlink(missing_ok=True)
        self.export(rules, folder)
        merged |= self.store_files(folder, {path: entry[0] for path, entry in written.items()})
        return True

    def take_unconverted(self, place: Path, before: Entries, after: Entries, mine: Entries) -> None:
        """Treat files as unedited if their blobs are the rendered bytes, unfiltered.

        Such files were not stored again (``git add --renormalize``) after a change of attributes.
        """
        for path, entry in before.items():
            if entry[0] == LINK or _rules_in([path]) or path not in mine:
                continue
            committed = mine[path][1]
            if committed != entry[1] and self._raw_name(place / path) == committed:
                if after.get(path) == entry:
                    after[path] = (entry[0], committed)
                before[path] = (entry[0], committed)

    def require_lfs(self, paths: Iterable[str]) -> None:
        """Check that git-lfs is configured if it stores one of these files.

        Git ignores a filter that is not configured, and would commit the content itself.

        Raises
        ------
        OperationError
            If it is not.
        """
        texts = [*self.outer.values(), *self.inner.values(), _local_attributes(self.repository)]
        if not any(map(LFS.search, texts)):
            return
        root = self.repository.root
        if not git.run("config", "--get-regexp", r"^filter\.lfs\.", cwd=root).returncode:
            return
        filters = self.attribute("filter", paths)
        if kept := sorted(path for path, name in filters.items() if name == "lfs"):
            raise OperationError(
                f"git-lfs stores {kept[0]}, which the template changes, but git is not configured "
                "for git-lfs here. Run: git lfs install\nThen run the update again"
            )

    def attribute(
        self, name: str, paths: Iterable[str], place: Path | None = None
    ) -> dict[str, str]:
        """Return the value of an attribute for each file that has one, here or in a stand-in."""
        values = self._attribute(name, paths, place).items()
        return {path: value for path, value in values if value not in NO_VALUE}

    def merge_rules(self, paths: Iterable[str]) -> bytes:
        """Return the text of an attributes file with git's own ways to merge these files.

        A driver that the project defines is a program, and does not apply to an update.
        """
        rules = {"unset": b"-merge", "binary": b"-merge", "union": b"merge=union"}
        values = self._attribute("merge", paths).items()
        lines = (_pattern(path) + b" " + rules[value] for path, value in values if value in rules)
        return b"".join(line + b"\n" for line in lines)

    def _attribute(
        self, name: str, paths: Iterable[str], place: Path | None = None
    ) -> dict[str, str]:
        """Return git's description of an attribute for each file."""
        stdin = b"".join(os.fsencode(path) + b"\0" for path in paths)
        arguments = ("check-attr", "-z", "--stdin", name)
        variables = standing_in(self.repository, place) if place else None
        folder = place or self.repository.root
        found = words(git.must(*arguments, cwd=folder, stdin=stdin, settings=variables))
        return dict(zip(found[::3], found[2::3], strict=True))

    def _encode(self, place: Path, paths: list[str]) -> None:
        """Encode files of a stand-in by its attributes if they are rendered as UTF-8.

        The template cannot know encodings that only this project uses.
        """
        files = [place / folder / ATTRIBUTES for folder in {str(Path(p).parent) for p in paths}]
        texts = [file.read_bytes() for file in files if file.is_file()]
        texts += [*self.outer.values(), _local_attributes(self.repository)]
        if not any(ENCODING.encode() in text for text in texts):
            return
        for path, encoding in self.attribute(ENCODING, paths, place).items():
            content = (place / path).read_bytes()
            try:
                if b"\0" not in content:  # UTF-16 and UTF-32 contain it
                    (place / path).write_bytes(_encoded(content.decode("utf-8"), encoding))
            except (LookupError, ValueError):
                continue  # git tries, and reports what is wrong

    def _hash(self, place: Path, paths: list[str]) -> dict[str, str]:
        """Store files and return their names."""
        if not paths:
            return {}
        # Git resolves these paths from the top of the work tree.
        stdin = b"".join(_quoted(self.repository.prefix + path) + b"\n" for path in paths)
        found = self._git(place, "hash-object", "-w", "--stdin-paths", stdin=stdin)
        return dict(zip(paths, found.decode().split(), strict=True))

    def _raw_name(self, file: Path) -> str:
        """Return the name of a blob with the unconverted bytes of a file."""
        import hashlib  # slow to import, and needed only here

        content = file.read_bytes()
        return hashlib.new(
            self.repository.hashes, b"blob %d\0" % len(content) + content
        ).hexdigest()

    def _git(
        self,
        place: Path,
        *arguments: str,
        stdin: bytes | None = None,
        settings: dict[str, str] | None = None,
    ) -> bytes:
        """Run the project's git with a stand-in for its work tree."""
        variables = standing_in(self.repository, place) | (settings or {})
        return git.must(*arguments, cwd=place, stdin=stdin, settings=variables)


def standing_in(repository: Repository, place: Path) -> dict[str, str]:
    """Return the variables that make the project's git use another folder as its work tree.

    Parameters
    ----------
    place
        The project's folder in it, at the same depth as in the real work tree.
    """
    depth = repository.prefix.count("/")
    top = place.parents[depth - 1] if depth else place
    return {"GIT_DIR": str(repository.git_dir), "GIT_WORK_TREE": str(top)}


def _rules_above(repository: Repository) -> Iterator[tuple[str, bytes]]:
    """Yield the attributes files of the folders around the project, by their path."""
    for parent in PurePosixPath(repository.prefix).parents if repository.prefix else ():
        file = repository.top / parent / ATTRIBUTES
        if file.is_file():
            yield str(parent / ATTRIBUTES), file.read_bytes()


def _rules_within(repository: Repository, yours: Entries) -> Iterator[tuple[str, bytes]]:
    """Yield the attributes files of the project's folders, by their path."""
    for path in {str(PurePosixPath(p).with_name(ATTRIBUTES)) for p in yours}:
        file = repository.root / path
        if file.is_file():
            yield path, file.read_bytes()


def _rules_in(paths: Iterable[str]) -> list[str]:
    """Return which of some files are attributes files."""
    return [path for path in paths if path.rpartition("/")[2] == ATTRIBUTES]


def _local_attributes(repository: Repository) -> bytes:
    """Return the attributes that the repository has only on this machine."""
    file = repository.objects.parent / "info" / "attributes"
    return file.read_bytes() if file.is_file() else b""


def _write_rules(top: Path, rules: dict[str, bytes]) -> None:
    """Write attributes files to their paths, except below paths that are files here."""
    for path, content in rules.items():
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_bytes(content)


def files_of(folder: Path) -> dict[str, str]:
    """Return the modes of all files and links of a folder by path, without those in .git."""
    found = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != ".git"]
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in [*links, *names]:
            path = Path(parent, name)
            mode = path.lstat().st_mode
            kind = LINK if stat.S_ISLNK(mode) else "100755" if mode & stat.S_IXUSR else "100644"
            found[path.relative_to(folder).as_posix()] = kind
    return found


def _encoded(text: str, encoding: str) -> bytes:
    """Encode a text; encodings have git's names, of which UTF-16LE-BOM is git's own."""
    name, mark = encoding.removesuffix("-BOM"), encoding.endswith("-BOM")
    return ("\ufeff" * mark + text).encode(codecs.lookup(name).name)


def _pattern(path: str) -> bytes:
    """Return the pattern of an attributes file that matches only this path."""
    return _quoted("/" + re.sub(r"[][*?\\]", r"\\\g<0>", path))


def _quoted(path: str) -> bytes:
    """Quote a path with any characters for git, which reads it from a line."""
    return b'"' + b"".join(b"\\%03o" % byte for byte in os.fsencode(path)) + b'"'
