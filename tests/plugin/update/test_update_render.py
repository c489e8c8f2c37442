"""Despite its optimisations, the updater renders the same bytes as cookiecutter."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cookiecutter import generate

from tests.plugin.update.rendering import SOURCES

FILES = {
    "plain.txt": b"words without tags\n",
    "no_end.txt": b"no line end",
    "empty.txt": b"",
    "blank_end.txt": b"two\n\n\n",
    "windows.txt": b"one\r\ntwo\r\n",
    "windows_tag.txt": b"{{ cookiecutter.name }}\r\ntwo\r\n",
    "tag.txt": b"called {{ cookiecutter.name }}\n",
    "block.txt": b"a\n{%- if cookiecutter.name == 'x' %}\nb\n{%- endif %}\n",
    "comment.txt": b"a{# nobody sees this #}b\n",
    "raw.txt": b"{% raw %}${{ kept }}{% endraw %}\n",
    "whole.txt": b"{{ cookiecutter | tojson }}\n",
    "braces.txt": b"{ {not a tag} }\n",
    "image.bin": bytes(range(256)) * 4,
    "{{ cookiecutter.name }}/in.txt": b"in a folder\n",
    "{% if cookiecutter.name == 'x' %}only_x.txt{% endif %}": b"for x\n",
}


@pytest.fixture
def _optimised_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make cookiecutter render like the updater's program."""
    script = SOURCES / "kedro_azure_mlops" / "update" / "render.py"
    spec = importlib.util.spec_from_file_location("updaters_render", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(generate, "generate_file", module.Memory())


@pytest.fixture
def template(tmp_path: Path) -> Callable[..., Path]:
    """Write a template with various files."""

    def write(**settings: object) -> Path:
        folder = tmp_path / "template" / "{{ cookiecutter.name }}"
        for name, content in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        (folder / "plain.txt").chmod(0o755)
        questions = json.dumps({"name": "x", **settings})
        (tmp_path / "template" / "cookiecutter.json").write_text(questions, encoding="utf-8")
        return tmp_path / "template"

    return write


def read_files(folder: str) -> dict[str, tuple[bytes, int]]:
    """Return content and mode of all files."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mode) for p in files}


@pytest.mark.usefixtures("_optimised_rendering")
@pytest.mark.parametrize("name", ["x", "other"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"_new_lines": "\r\n"},
        {"_jinja2_env_vars": {"line_statement_prefix": "words"}},
        {"_jinja2_env_vars": {"variable_start_string": "two", "variable_end_string": "\n"}},
    ],
    ids=["usual", "line_ends", "line_statements", "other_marks"],
)
def test_a_render_equals_that_of_cookiecutter(
    template: Callable[..., Path],
    tmp_path: Path,
    name: str,
    settings: dict[str, object],
) -> None:
    folder = template(**settings)
    own = generate.generate_file.generate_file
    context = {"cookiecutter": {"name": name, **settings, "_template": "t", "_commit": "c"}}

    def output(folder_name: str) -> dict[str, tuple[bytes, int]] | str:
        try:
            return read_files(generate.generate_files(folder, context, str(tmp_path / folder_name)))
        except Exception as error:  # noqa: BLE001 - whatever it is, both raise it
            return f"{type(error).__name__}: {error}"

    twice = output("first"), output("second")
    with pytest.MonkeyPatch.context() as without:
        without.setattr(generate, "generate_file", own)
        expected = output("cookiecutter")
    assert twice == (expected, expected)
    if not settings:
        assert len(expected) == len(FILES) - (name != "x")
