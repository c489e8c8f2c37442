"""The questions of the template: accepted, derived and rejected answers."""

import ast
import contextlib
import itertools
import json
import keyword
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from jinja2.exceptions import UndefinedError
from markdown_it import MarkdownIt

from tests.helpers import (
    PROJECT,
    ROOT,
    Attempt,
    BakedProject,
    clean_environment,
    read_hook_words,
)

QUESTIONS = [
    "sample",
    "project_name",
    "project_slug",
    "package_name",
    "description",
    "author_name",
    "python_version",
    "ci_provider",
    "license",
]

LONG_NAME = "a-slug-of-sixty-characters-which-is-as-long-as-it-may-ever-be"[:60]

HOSTILE = {
    "quotes": """It's "quoted" and ''' and \"\"\" too""",
    "backslashes": r"C:\new\table \\server\share \u0041 \N{BULLET}",
    "trailing_backslash": "ends with a \\",
    "trailing_quote": 'ends with a "',
    "emoji": "Grüße 🌡️ 👩‍🔬 温度 \N{COMBINING ACUTE ACCENT}",
    "yaml": "key: value # no comment, - no list, ? ! & * | > @ `x` [a] {b}",
    "toml": "x = 'y' [table] # no comment",
    "shell": "$HOME $(reboot) `reboot` ; rm -rf / && %PATH% !!",
    "markdown": "1. *not* _a_ list <b>nor</b> &amp; [link](x) ~~gone~~ | $math$ # end #",
    "heading": "# not a heading",
    "bullet": "- not a bullet",
    "braces": "{ single { braces } and %s %(x)s {0} } }} %} #}",
    "comment": "*/ --> <!-- // ]]>",
    "python": "''' + __import__('os').name + '''",
}


def test_questions_have_this_order_and_a_prompt_each() -> None:
    context = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    assert [key for key in context if not key.startswith("_")] == QUESTIONS
    for key in QUESTIONS:
        prompt = context["__prompts__"][key]
        sentence = prompt["__prompt__"] if isinstance(prompt, dict) else prompt
        assert len(sentence.split()) >= 4, key


class TestDerivedNames:
    @pytest.mark.parametrize(
        ("name", "slug", "package"),
        [
            pytest.param(
                "Temperature Anomalies",
                "temperature-anomalies",
                "temperature_anomalies",
                id="usual",
            ),
            pytest.param("  Öl & Gas / 2 ", "ol-gas-2", "ol_gas_2", id="accents_and_signs"),
            pytest.param("ABC_def.ghi", "abc-def-ghi", "abc_def_ghi", id="case_and_dots"),
            pytest.param("word " * 16, "word-" * 11 + "word", "word_" * 7 + "word", id="longest"),
        ],
    )
    def test_come_from_the_project_name(
        self, derive: Callable[..., dict[str, str]], name: str, slug: str, package: str
    ) -> None:
        answers = derive(project_name=name)
        assert answers["project_slug"][:60] == slug[:60].rstrip("-")
        assert answers["package_name"] == package[:40].rstrip("_")

    def test_mention_the_sample_only_if_it_is_included(
        self, derive: Callable[..., dict[str, str]]
    ) -> None:
        keys = ("project_slug", "description")
        usual, none = derive(), derive(sample="none")
        sentence = "Finds anomalies in temperature series."
        assert [usual[key] for key in keys] == ["temperature-anomalies", sentence]
        assert [none[key] for key in keys] == ["my-project", "A machine-learning project."]
        assert derive(sample="none", project_name="Churn")["package_name"] == "churn"

    @pytest.mark.parametrize(
        "slug",
        [
            "abc",
            "a-b",
            "temperature-anomalies",
            "x" * 60,
            "a-" * 29 + "ab",
            LONG_NAME,
            *(("cold-" * 8)[:length].rstrip("-") for length in range(9, 39)),
        ],
    )
    def test_are_valid_azure_names_in_every_environment(
        self, derive: Callable[..., dict[str, str]], slug: str
    ) -> None:
        answers = derive(project_slug=slug)
        # Room for a suffix such as `stage`, so that each environment can have its own.
        assert re.fullmatch(r"[a-z0-9]{3,19}", answers["__storage_account"])
        assert re.fullmatch(r"[a-z0-9]{5,48}", answers["__container_registry"] + "dev")
        hyphened = {"__key_vault": 18, "__endpoint": 26, "__workspace": 27, "__log_analytics": 57}
        for key, longest in hyphened.items():
            assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", answers[key]), key
            assert 3 <= len(answers[key]) <= longest

    def test_are_readable_if_short_enough(self, derive: Callable[..., dict[str, str]]) -> None:
        answers = derive(project_slug="cold-store")
        assert answers["__storage_account"] == "stcoldstore"
        assert answers["__key_vault"] == "kv-cold-store"
        assert answers["__container_registry"] == "crcoldstore"
        assert answers["__log_analytics"] == "log-cold-store"
        assert answers["__workspace"] == "mlw-cold-store"
        assert answers["__endpoint"] == "cold-store"

    def test_stay_unique_when_truncated(self, derive: Callable[..., dict[str, str]]) -> None:
        slugs = [f"{LONG_NAME[:50]}-{a}{b}" for a, b in itertools.product("ab01", repeat=2)]
        slugs += {LONG_NAME[:length].rstrip("-") for length in range(32, 61, 2)}
        derived = [derive(project_slug=slug) for slug in slugs]
        keys = ("storage_account", "key_vault", "container_registry", "log_analytics")
        for key in ("__endpoint", "__workspace", *(f"__{key}" for key in keys)):
            assert len({answers[key] for answers in derived}) == len(slugs)

    def test_are_the_same_every_time(self, derive: Callable[..., dict[str, str]]) -> None:
        assert derive(project_slug=LONG_NAME)["__key_vault"] == "kv-a-slug-o-c7626f"


PATHS = {
    "parent": "../x",
    "absolute": "/x",
    "nested": "a/b",
    "empty": "",
    "home": "~",
    "home_of_user": "~user",
    "dots": "..",
    "dot": ".",
    "backslash": "a\\b",
    "drive": "C:x",
    "newline": "a\nb",
}


class TestGuard:
    @pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
    @pytest.mark.parametrize("key", ["project_slug", "package_name"])
    def test_rejects_a_path_before_rendering(
        self, derive: Callable[..., dict[str, str]], key: str, path: str
    ) -> None:
        with pytest.raises(
            UndefinedError, match=f"ERROR_{key}_must_be_a_plain_name_and_not_a_path"
        ):
            derive(**{key: path})

    @pytest.mark.parametrize("key", ["project_slug", "package_name"])
    def test_accepts_a_plain_name(self, derive: Callable[..., dict[str, str]], key: str) -> None:
        assert derive(**{key: "plain"})[key] == "plain"

    @pytest.mark.parametrize("path", ["../outside", "", "~"])
    def test_writes_nothing_even_without_hooks(
        self, questions: Path, tmp_path: Path, path: str
    ) -> None:
        output = tmp_path / "output"
        output.mkdir()
        command = [sys.executable, "-m", "cookiecutter", "--no-input", "--accept-hooks", "no"]
        tried = subprocess.run(
            [*command, questions, f"project_slug={path}"],
            cwd=output,
            env=clean_environment(),
            capture_output=True,
            text=True,
        )
        assert tried.returncode != 0
        assert "project_slug_must_be_a_plain_name_and_not_a_path" in tried.stderr.splitlines()[-1]
        assert list(output.iterdir()) == []
        assert not (tmp_path / "outside").exists()


FAULTS = {
    "keyword": ("package_name", "class", "a Python keyword"),
    "soft_keyword": ("package_name", "match", "a Python keyword"),
    "standard_module": ("package_name", "statistics", "standard library"),
    "removed_module": ("package_name", "distutils", "standard library"),
    "dependency": ("package_name", "sklearn", "package that the project imports"),
    "layout_folder": ("package_name", "operation", "folder in the project"),
    "hyphen_in_package": ("package_name", "my-package", "identifier"),
    "leading_digit": ("package_name", "2nd", "identifier"),
    "upper_case_package": ("package_name", "MyPackage", "identifier"),
    "non_ascii_letters": ("package_name", "größe", "identifier"),
    "emoji_package": ("package_name", "👩‍🔬", "identifier"),
    "emoji_slug": ("project_slug", "🌡️", "lower-case"),
    "byte_in_slug": ("project_slug", "gr\udcfcn", "bytes fc"),
    "byte_in_name": ("author_name", "M\udcfcller", "bytes fc"),
    "device_package": ("package_name", "nul", "device name"),
    "long_package": ("package_name", "p" * 41, "41 characters, but at most 40 are allowed"),
    "device_slug": ("project_slug", "com1", "device name"),
    "upper_case_slug": ("project_slug", "MySlug", "lower-case"),
    "underscore_slug": ("project_slug", "my_slug", "lower-case"),
    "double_hyphen": ("project_slug", "my--slug", "lower-case"),
    "leading_digit_slug": ("project_slug", "3d-prints", "lower-case"),
    "short_slug": ("project_slug", "ab", "shorter than 3"),
    "long_slug": ("project_slug", "s" * 61, "61 characters, but at most 60 are allowed"),
    "slug_of_dependency": ("project_slug", "scikit-learn", "package that the project installs"),
    "slug_of_python": ("project_slug", "python", "a command in the project's virtual"),
    "slug_of_script": ("project_slug", "activate", "a command in the project's virtual"),
    "empty_name": ("project_name", "", "is empty"),
    "blank_author": ("author_name", "  ", "is empty"),
    "trailing_space": ("description", "ends so ", "space"),
    "newline": ("description", "two\nlines", "line break"),
    "escape_character": ("author_name", "red \x1b[31m", "control character"),
    "line_separator": ("description", "a\u2028b", "line break"),
    "jinja_expression": ("description", "a {{ '{{' }} b", "has {{"),
    "jinja_statement": ("project_name", "a {{ '{%' }} b", "has {%"),
    "jinja_comment": ("author_name", "a {{ '{#' }} b", "has {#"),
    "long_name": ("project_name", "n" * 81, "81 characters, but at most 80 are allowed"),
    "long_description": ("description", "d" * 201, "201 characters, but at most 200 are allowed"),
    "long_author": ("author_name", "a" * 81, "81 characters, but at most 80 are allowed"),
}


class TestFaults:
    @pytest.mark.parametrize(("key", "answer", "fault"), FAULTS.values(), ids=FAULTS)
    def test_are_rejected_and_the_printed_retry_command_works(
        self,
        attempt: Callable[..., Attempt],
        type_in: Callable[..., Attempt],
        key: str,
        answer: str,
        fault: str,
    ) -> None:
        answers = {"project_name": "Mine", "project_slug": "mine", "package_name": "mine"}
        refused = attempt(**answers | {key: answer})
        assert not refused.succeeded
        (line,) = (line for line in refused.printed.splitlines() if fault in line)
        assert line.startswith(f"  - {key} ")
        assert refused.left_nothing

        accepted = type_in(*refused.retry)
        assert accepted.succeeded, accepted.printed
        unchanged = {k: v for k, v in answers.items() if k != key}
        assert {f"{k}={v}" for k, v in unchanged.items()} <= set(refused.retry)

    def test_are_all_listed_together(
        self, attempt: Callable[..., Attempt], type_in: Callable[..., Attempt]
    ) -> None:
        refused = attempt(
            project_name="",
            project_slug="Con",
            package_name="import",
            description="x" * 201 + "\n",
            author_name='It\'s "me"',
            license="BSD-3-Clause",
        )
        faults = [line for line in refused.printed.splitlines() if line.startswith("  - ")]
        assert [fault.split()[1] for fault in faults] == [
            "project_name",
            "project_slug",
            "project_slug",
            "package_name",
            "description",
            "description",
            "description",
        ]
        assert refused.left_nothing
        accepted = type_in(*refused.retry)
        assert accepted.succeeded
        assert 'It\'s "me"' in accepted.project.read("LICENSE")
        assert accepted.project.read("LICENSE").startswith("BSD 3-Clause")

    @pytest.mark.parametrize("answer", ["foo", "", "both ", "NONE", "temperature_anomalies"])
    @pytest.mark.parametrize(("key", "choice"), [("ci_provider", "both"), ("sample", "none")])
    def test_of_a_choice_are_rejected_by_cookiecutter(
        self, derive: Callable[..., dict[str, str]], key: str, choice: str, answer: str
    ) -> None:
        with pytest.raises(ValueError, match=f"variable {key}, but the choices are .*'{choice}'"):
            derive(**{key: answer})
        assert derive(**{key: choice})[key] == choice

    def test_reserved_names_include_every_folder_of_the_layout(self) -> None:
        layout = {path.name for path in (ROOT / PROJECT).iterdir() if path.is_dir()}
        assert {name for name in layout if name.isidentifier()} <= read_hook_words("LAYOUT")

    def test_reserved_names_include_every_direct_dependency(self) -> None:
        imported_as = {"scikit_learn": "sklearn", "pyyaml": "yaml"}
        for requirements in (ROOT / PROJECT / "requirements").glob("*.in"):
            lines = requirements.read_text(encoding="utf-8").splitlines()
            names = {re.split(r"[^\w.-]", line)[0] for line in lines if line and line[0].isalpha()}
            modules = {name.lower().replace("-", "_") for name in names}
            modules = {imported_as.get(name, name) for name in modules}
            assert modules <= read_hook_words("DEPENDENCIES"), requirements.name

    def test_reserved_names_include_the_commands_of_locked_packages(self) -> None:
        locks = (ROOT / PROJECT / "requirements").glob("*.txt")
        text = "".join(lock.read_text(encoding="utf-8") for lock in locks)
        locked = set(re.findall(r"^([\w.-]+)==", text, re.MULTILINE))
        commands = {
            point.name
            for one in metadata.distributions(path=[sysconfig.get_path("purelib")])
            if one.name.lower().replace("_", "-") in locked
            for point in one.entry_points.select(group="console_scripts")
        }
        slugs = {name for name in commands if re.fullmatch(r"[a-z][a-z0-9]{2,}(-[a-z0-9]+)*", name)}
        assert {"kedro", "normalizer"} <= slugs
        scripts, packages = read_hook_words("SCRIPTS"), read_hook_words("DEPENDENCIES")
        assert {name for name in slugs - scripts if name.replace("-", "_") not in packages} == set()

    def test_reserved_names_include_modules_of_other_python_versions(self) -> None:
        """The hook's own list must not depend on the Python that runs it."""
        removed_or_new = {
            "imp",
            "distutils",
            "asyncore",
            "cgi",
            "telnetlib",
            "tomllib",
            "compression",
        }
        known = read_hook_words("STANDARD_LIBRARY") | sys.stdlib_module_names
        assert removed_or_new <= known
        assert not {word for word in known if keyword.iskeyword(word)}


class TestNameWithoutLetters:
    @pytest.mark.parametrize("name", ["🌡️", "👩‍🔬 ♥", "!?", "— … —"])
    def test_needs_a_slug(
        self,
        attempt: Callable[..., Attempt],
        type_in: Callable[..., Attempt],
        name: str,
    ) -> None:
        refused = attempt(project_name=name)
        assert not refused.succeeded
        (fault,) = (line for line in refused.printed.splitlines() if line.startswith("  - "))
        assert "project_name has no letter or digit for a slug, so give a slug" in fault
        assert "jinja2" not in refused.printed
        assert refused.left_nothing
        assert "project_slug=my-project" in refused.retry
        assert "package_name=my_project" in refused.retry
        accepted = type_in(*refused.retry)
        assert accepted.succeeded, accepted.printed
        assert accepted.project.toml("pyproject.toml")["tool"]["kedro"]["project_name"] == name

    def test_is_accepted_with_a_slug(self, attempt: Callable[..., Attempt]) -> None:
        accepted = attempt(project_name="🌡️", project_slug="thermometer")
        assert accepted.succeeded, accepted.printed
        project = accepted.project
        assert project.path.name == "thermometer"
        assert project.toml("pyproject.toml")["tool"]["kedro"]["package_name"] == "thermometer"


TYPED = "Müller & Söhne"


@pytest.fixture(scope="module")
def latin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A Latin-1 locale, which has umlauts but is not UTF-8."""
    folder = tmp_path_factory.mktemp("locales")
    make = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(folder / "de_DE.ISO-8859-1")]
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run(make, capture_output=True).returncode in (0, 1):
            return {"LC_ALL": "de_DE.ISO-8859-1", "LOCPATH": str(folder)}
    pytest.skip("localedef or its locale source is missing")


class TestLocale:
    """Answers are decoded with the locale; wrongly decoded letters are never accepted."""

    @pytest.fixture
    def render(self, questions: Path, tmp_path: Path) -> Callable[..., Attempt]:
        """Return a function that renders with a name in one encoding under one locale."""

        def call(encoding: str, locale: dict[str, str]) -> Attempt:
            name = os.fsdecode(TYPED.encode(encoding))
            command = [sys.executable, "-m", "cookiecutter", "--no-input", "--default-config"]
            process = subprocess.run(
                [*command, str(questions), f"project_name={name}", "project_slug=mine"],
                cwd=tmp_path,
                env=clean_environment(**locale),
                capture_output=True,
            )
            said = (process.stdout + process.stderr).decode("utf-8", "replace")
            return Attempt(tmp_path, process.returncode, said)

        return call

    def assert_refused(self, attempt: Attempt, words: str, type_in: Callable[..., Attempt]) -> None:
        assert not attempt.succeeded
        (fault,) = (line for line in attempt.printed.splitlines() if line.startswith("  - "))
        assert fault.startswith("  - project_name ")
        assert words in fault
        assert "is not UTF-8. Run first: export LC_ALL=C.UTF-8" in fault
        assert "control character" not in fault
        assert not (attempt.output / "mine").exists()
        assert f"project_name={TYPED}" in attempt.retry
        options = attempt.retry[: attempt.retry.index("--output-dir")]
        answers = attempt.retry[attempt.retry.index("--output-dir") + 2 :]
        assert self.has_the_name(type_in(*options, *answers))

    def has_the_name(self, accepted: Attempt) -> bool:
        assert accepted.succeeded, accepted.printed
        folder = next(path.parent for path in accepted.output.glob("*/pyproject.toml"))
        metadata = BakedProject(folder).toml("pyproject.toml")
        return bool(metadata["tool"]["kedro"]["project_name"] == TYPED)

    def test_that_is_ascii_only_is_reported(
        self, render: Callable[..., Attempt], type_in: Callable[..., Attempt]
    ) -> None:
        self.assert_refused(
            render("utf-8", {"LC_ALL": "C", "PYTHONUTF8": "0"}),
            "decoded as ascii (bytes c3 bc c3 b6)",
            type_in,
        )

    def test_that_differs_from_the_terminal_is_reported(
        self, render: Callable[..., Attempt], type_in: Callable[..., Attempt]
    ) -> None:
        self.assert_refused(render("latin-1", {}), "decoded as utf-8 (bytes fc f6)", type_in)

    def test_that_decodes_utf_8_as_latin_1_is_reported(
        self,
        render: Callable[..., Attempt],
        type_in: Callable[..., Attempt],
        latin: dict[str, str],
    ) -> None:
        self.assert_refused(render("utf-8", latin), "UTF-8 that was decoded as iso8859-1", type_in)

    def test_that_matches_the_input_is_accepted(
        self, render: Callable[..., Attempt], latin: dict[str, str]
    ) -> None:
        assert self.has_the_name(render("latin-1", latin))

    @pytest.mark.parametrize("name", ["C", "POSIX", "C.UTF-8"])
    def test_that_python_decodes_as_utf_8_is_accepted(
        self, render: Callable[..., Attempt], name: str
    ) -> None:
        assert self.has_the_name(render("utf-8", {"LC_ALL": name}))


class TestFreeText:
    @pytest.fixture(params=HOSTILE.values(), ids=HOSTILE)
    def text(self, request: pytest.FixtureRequest) -> str:
        """Text that breaks a file if it is inserted without escaping."""
        return request.param

    @pytest.fixture
    def project(self, bake: Callable[..., BakedProject], text: str) -> BakedProject:
        """A project with this text as every free-text answer."""
        return bake(
            project_name=text,
            project_slug="hostile",
            package_name="hostile",
            description=text,
            author_name=text,
        )

    def test_is_rendered_unchanged(self, project: BakedProject, text: str) -> None:
        metadata = project.toml("pyproject.toml")
        assert metadata["project"]["description"] == text
        assert metadata["project"]["authors"] == [{"name": text}]
        assert metadata["tool"]["kedro"]["project_name"] == text
        assert text in project.read("LICENSE")
        assert shown_words(text) in shown_words(markdown_text(project.read("README.md")))
        for name in project.files:
            if name.endswith(".py"):
                ast.parse(project.read(name), filename=name)
            if name.endswith((".yml", ".yaml")):
                project.yaml(name)

    def test_can_be_quoted_in_every_format(
        self, derive: Callable[..., dict[str, str]], tmp_path: Path, text: str
    ) -> None:
        answers = derive(description=text, project_name=text, project_slug="hostile")
        quoted = f'"{answers["__description_toml"]}"'
        (tmp_path / "file.toml").write_text(f"x = {quoted}\n", encoding="utf-8")
        (tmp_path / "file.yml").write_text(f"x: {quoted}\n", encoding="utf-8")
        project = BakedProject(tmp_path)
        assert project.toml("file.toml") == {"x": text}
        assert project.yaml("file.yml") == {"x": text}
        assert ast.literal_eval(quoted) == text
        for key in ("__description_markdown", "__project_name_markdown"):
            assert markdown_text(f"{answers[key]}\n") == text
            assert markdown_text(f"# {answers[key]}\n") == text


def markdown_text(source: str) -> str:
    """Return the text that Markdown displays, without markup."""
    blocks = MarkdownIt("gfm-like", {"linkify": False}).parse(source)
    kinds = {block.type for block in blocks} - {"inline"}
    shown = ("".join(leaf.content for leaf in block.children or ()) for block in blocks)
    return "" if "html_block" in kinds else "\n".join(filter(None, shown))


def shown_words(text: str) -> str:
    """Return text with white space collapsed, as browsers display it."""
    return " ".join(text.split())
