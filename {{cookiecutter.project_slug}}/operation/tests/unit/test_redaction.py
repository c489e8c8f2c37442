"""Secrets are hidden wherever this process speaks; everything else is left as it is."""

import io
import logging
import subprocess
import sys

import pytest

from {{ cookiecutter.package_name }}.output import RedactedStream, RedactingFormatter
from {{ cookiecutter.package_name }}.redaction import redact, redacted

from operation.tests.helpers import ROOT, new_shell
from operation.tests.seeds import KEY, PASSWORD, SEEDS, SIGNATURE, some

# pairs: as keys and values of a dictionary they look like secrets
HELD = (
    ("AZURE_CLIENT_SECRET", "Tr0ub4dor&3"),
    ("MLFLOW_TRACKING_PASSWORD", "correct horse"),
    ("MLFLOW_TRACKING_TOKEN", "battery-staple"),
    ("DATABRICKS_TOKEN", "of-the-workspace"),
    ("AZURE_STORAGE_KEY", "a/b+c/d=="),
    ("AZURE_STORAGE_CONNECTION_STRING", "UseDevelopmentStorage=maybe"),
    ("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sp=r"),
    ("SYSTEM_ACCESSTOKEN", "of-the-pipeline"),
    ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-workflow"),
    ("AZURE_DEVOPS_EXT_PAT", "of-a-person"),
    ("AWS_SECRET_ACCESS_KEY", "not/of/azure"),
)
ORDINARY = (
    "Tracked in sqlite:////tmp/x/mlruns.db, run f10c036a0731427f97767d84897887a6: FINISHED",
    "sig = 0.05 is significant; sigma=1.5, sig=small",
    "--hash=sha256:065665c041c42a5938ed220bdcd7230f22527fbec085e1853d2402c8a3615d9d",
    "see the secret key of success: passwords and tokens are in a vault",
    "secret: give it in AZURE_CLIENT_SECRET, or sign in: az login",
    "AZURE_CLIENT_SECRET is set, but not AZURE_TENANT_ID and AZURE_CLIENT_ID",
    "abfss://container@account.dfs.core.windows.net/raw/x.csv",
    "git clone https://org@dev.azure.com/org/project/_git/x",
    "git@github.com:org/x.git, mail to a.person@example.org",
    "https://a.blob.core.windows.net/c/x.csv?restype=container&comp=list",
    "/subscriptions/8c1f6a0e-3b1d-4a77-9d5c-2f0e6b7a1c3d/resourceGroups/rg-x/providers/y",
    "http://127.0.0.1:5000/a?x=1@2, http://[::1]:5000/",
    "uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
    "bearer of bad news, Basic authentication, key: value, token: none, password:",
    "Uploading (0.5 MBs): 100%|##########| 500/500 [00:00<00:00, 12.3kB/s]\r",
    "\x1b[31mred\x1b[0m Zoë → 🌡️ café",
    "dapifoo eyJ.x gh" + "p_short",
)  # fmt: skip


@pytest.mark.parametrize(("secret", "text"), SEEDS.values(), ids=SEEDS)
def test_a_secret_is_hidden_and_the_rest_stays(secret: str, text: str) -> None:
    said = redact(text)
    assert secret not in said
    assert "***" in said
    assert redact(said) == said
    first = text.split(maxsplit=1)[0].split("=", maxsplit=1)[0][:7]
    assert secret in first or said.startswith(first)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(("name", "value"), HELD, ids=[name for name, _ in HELD])
def test_what_the_environment_holds_is_hidden(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert value in redact(f"it is [{value}]")
    monkeypatch.setenv(name, value)
    assert redact(f"it is [{value}].") == "it is [***]."
    assert redact("it is x" + value.replace(" ", "_")) == "it is x" + value.replace(" ", "_")


@pytest.mark.parametrize(
    "name", ["AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID", "MLFLOW_TRACKING_USERNAME", "PATH"]
)
def test_what_else_it_holds_is_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/run/tokens/it")
    assert redact("see /run/tokens/it") == "see /run/tokens/it"


def test_the_password_of_an_address_in_the_environment_is_hidden_alone_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://mlflow:{PASSWORD[:8]}%2F@host:5000")
    assert redact(f"wrong password {PASSWORD[:8]}/ for mlflow") == "wrong password *** for mlflow"


def test_a_value_that_is_a_common_word_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "passes")
    assert redact("that passes") == "that passes"


def test_nested_values_are_redacted_and_numbers_kept() -> None:
    given = {"a": [f"AccountKey={KEY}", 1.5], "b": {"c": None, "d": "x"}}
    assert redacted(given) == {"a": ["AccountKey=***", 1.5], "b": {"c": None, "d": "x"}}


class TestStream:
    def test_a_secret_that_comes_in_pieces_is_hidden(self) -> None:
        stream = RedactedStream(target := io.StringIO())
        for piece in ("Account", "Key=", KEY[:9], KEY[9:], ";x\nnext"):
            stream.write(piece)
        assert target.getvalue() == "AccountKey=***;x\n"
        stream.flush()
        assert target.getvalue() == "AccountKey=***;x\nnext"

    def test_it_counts_what_it_is_given_and_keeps_every_character(self) -> None:
        text = "Zoë\r\n100%|###|\r\x1b[0m\n\nend"
        stream = RedactedStream(target := io.StringIO(newline=""))
        assert stream.write(text) == len(text)
        stream.writelines(["a\n", "b"])
        stream.flush()
        assert target.getvalue() == text + "a\nb"

    def test_a_line_without_an_end_does_not_grow_for_ever(self) -> None:
        stream = RedactedStream(target := io.StringIO())
        for _ in range(80):
            stream.write("." * 1000)
        assert len(target.getvalue()) > 60_000

    def test_it_is_in_all_else_the_stream_that_it_wraps(self) -> None:
        stream = RedactedStream(sys.__stdout__)
        assert stream.encoding == sys.__stdout__.encoding
        assert stream.isatty() == sys.__stdout__.isatty()
        with pytest.raises(TypeError):
            stream.write(b"bytes")


def test_a_log_line_is_redacted_with_its_traceback() -> None:
    try:
        raise ValueError(f"no such file: x?sig={SIGNATURE}")
    except ValueError:
        record = logging.makeLogRecord(
            {"msg": "key %s", "args": (KEY,), "exc_info": sys.exc_info()}
        )
    said = RedactingFormatter(logging.Formatter("%(message)s")).format(record)
    assert said.startswith("key ***\nTraceback")
    assert said.endswith("ValueError: no such file: x?sig=***")


PROGRAM = """
import logging, os, subprocess, sys, threading, warnings
from PACKAGE.output import protect_output
logging.basicConfig(level="INFO")
protect_output(); protect_output()
key = sys.argv[2]
print("out", key, end=""); print("", flush=True)
print("held", os.environ["AZURE_CLIENT_SECRET"])
subprocess.run([sys.executable, "-c", "print('child')"], stdout=sys.stdout, check=True)
logging.getLogger("x").info("log %s", key) if sys.argv[1] == "late" else None
warnings.warn("warn " + key)
thread = threading.Thread(target=lambda: 1 / len(key.partition(key)[0]), name=key)
thread.start(); thread.join()
print("no end of line " + key, end="")
raise RuntimeError("raised " + key)
"""


def test_everything_that_a_process_prints_is_protected(monkeypatch: pytest.MonkeyPatch) -> None:
    program = PROGRAM.replace("PACKAGE", "{{ cookiecutter.package_name }}")
    held = some(12)
    process = subprocess.run(
        [sys.executable, "-c", program, "early", KEY],
        cwd=ROOT,
        env=new_shell() | {"PYTHONPATH": "src", "AZURE_CLIENT_SECRET": held},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stdout == "out ***\nheld ***\nchild\nno end of line ***"
    assert KEY not in process.stderr
    assert held not in process.stderr
    for said in ("warn ***", "ZeroDivisionError", "RuntimeError: raised ***\n"):
        assert said in process.stderr
