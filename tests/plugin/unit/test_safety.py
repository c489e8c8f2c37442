"""Secrets are redacted in all output of this process; other text is unchanged."""

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from kedro_azure_mlops.safety import RedactedStream, RedactingFormatter, Redactor, redact, redacted
from tests.plugin.helpers import ROOT, new_shell
from tests.plugin.seeds import KEY, PASSWORD, SEEDS, SIGNATURE, random_text

# pairs, since a dictionary would look like secrets to a scanner
SECRET_VARIABLES = (
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
    "PWD=/srv/user/project OLDPWD=/srv/user2/projects",
    "primary_key=sensor_id, primary_key='sensor_id'",
    '{"primary_key": "sensor_id"}',
    "storage_key = os.environ['X']",
    "client_secret=client_secret",
    "id_token=self.id_token",
    "login(user, password=password)",
    "password=${DB_PASSWORD_1} password=$PASSWORD password={password!r} --password <password>",
    "password=getpass.getpass(), api_key=config2.get('k1')",
    "if secret == another_secret1:",
    "id_token: write",
    "max_token=100000000, mask_token='[MASK]'",
    "--password PASSWORD  what to sign in with",
    "authorization: Contributor",
    "Authorization: AuthorizationPermissionMismatch",
    "docker:" + "//image:tag@sha256:" + "0656ab41" * 8,
    "https://a.example/x?sig=small",
    "a word of 52 letters: " + "abcdefghijklmnopqrstuvwxyz" * 2,
)  # fmt: skip


@pytest.mark.parametrize(("secret", "text"), SEEDS.values(), ids=SEEDS)
def test_a_secret_is_redacted_and_the_rest_is_kept(secret: str, text: str) -> None:
    output = redact(text)
    assert secret not in output
    assert "***" in output
    assert redact(output) == output
    first = text.split(maxsplit=1)[0].split("=", maxsplit=1)[0][:7]
    assert secret in first or output.startswith(first)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_unchanged(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("name", "value"), SECRET_VARIABLES, ids=[name for name, _ in SECRET_VARIABLES]
)
def test_secrets_in_environment_variables_are_redacted(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert value in redact(f"it is [{value}]")
    monkeypatch.setenv(name, value)
    assert redact(f"it is [{value}].") == "it is [***]."
    assert redact("it is x" + value.replace(" ", "_")) == "it is x" + value.replace(" ", "_")


def test_redaction_follows_changed_and_deleted_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("before-it", "after-it"):
        monkeypatch.setenv("AZURE_CLIENT_SECRET", value)
        assert redact("before-it after-it") == "before-it after-it".replace(value, "***")
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    assert redact("before-it after-it") == "before-it after-it"


@pytest.mark.parametrize(
    "name", ["AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID", "MLFLOW_TRACKING_USERNAME", "PATH"]
)
def test_other_environment_variables_are_not_redacted(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/run/tokens/it")
    assert redact("see /run/tokens/it") == "see /run/tokens/it"


def test_a_password_in_a_url_variable_is_redacted_outside_the_url_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://mlflow:{PASSWORD[:8]}%2F@host:5000")
    assert redact(f"wrong password {PASSWORD[:8]}/ for mlflow") == "wrong password *** for mlflow"


def test_a_password_that_is_a_common_word_is_not_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "passes")
    assert redact("that passes") == "that passes"


def test_nested_values_are_redacted_and_numbers_are_kept() -> None:
    values = {"a": [f"AccountKey={KEY}", 1.5], "b": {"c": None, "d": "x"}}
    assert redacted(values) == {"a": ["AccountKey=***", 1.5], "b": {"c": None, "d": "x"}}


def test_all_values_under_secret_names_are_redacted() -> None:
    names = ("password", "access_token", "storage-key", "pwd")
    secrets = dict(zip(names, ("plain", "word", "a", "b"), strict=True))
    assert redacted(secrets) == dict.fromkeys(secrets, "***")
    assert redacted({"warehouse": {"token": ["x", {"y": "z"}]}}) == {
        "warehouse": {"token": ["***", {"y": "***"}]}
    }
    assert redacted("plain", "warehouse.password") == "***"
    assert redacted("plain", "warehouse.password.value") == "***"


def test_empty_values_numbers_and_values_under_other_names_are_kept() -> None:
    values = {
        "password": None,
        "secret": "",
        "token": 5,
        "_".join(("passwords", "file")): "x.txt",
        "primary_key": "sensor_id",
        "tokenizer": {"name": "bpe"},
    }
    assert redacted(values) == values
    assert redacted("plain", "warehouse.user") == "plain"


# near-matches: long runs of them make a pattern read far before it fails
LONG = (
    *("ab-", "aB3-", "a.", "eyJ", "eyJ-", "eyJaaaaaaaa.", "eyJaaaaaaaa-", "://", "a://b:", "https://a@"),
    *("password=", "password=a(", "password: ", "password:a", '"password":"', 'password="', "key"),
    *("--", "--a", "--token ", "authorization:", "authorization: a ", "bearer "),
    *("&sig=a", "_token=a", "a2", "=", "8Q~", "gh" + "p_", "password='\\", "primary_key="),
    *("-----BEGIN ", "-----BEGIN " + "PRIVATE KEY-----", "-----END ", "\\", "[", "{", "$", " "),
)  # fmt: skip


@pytest.mark.parametrize("start", ["key ", "eyJ", "password="])
def test_redacting_a_long_text_takes_linear_time(start: str) -> None:
    """Redaction takes minutes if a pattern rescans the rest of the text at each position."""
    for piece in LONG:
        redact(start + piece * (60_000 // len(piece)))
        Redactor().redact(start + piece * (60_000 // len(piece)))


class TestMultiLineKey:
    LINES = (
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        random_text(64),
        random_text(64),
        random_text(7),
        "",
    )
    END = "-----END RSA " + "PRIVATE KEY-----"

    @pytest.mark.parametrize("before", ["", "12:00 INFO  "])
    def test_a_key_is_redacted_up_to_its_end_line(self, before: str) -> None:
        stream = RedactedStream(target := io.StringIO())
        lines = [before + line for line in self.LINES[: 3 if before else None]]
        for line in ("first", *lines, self.END, "after it", random_text(64)[:9]):
            stream.write(line + "\n")
        output = target.getvalue()
        assert not any(line in output for line in self.LINES[1:4])
        assert output.startswith(f"first\n{before}{self.LINES[0]} *** {self.END}\nafter it\n")

    def test_text_after_a_complete_key_is_kept(self) -> None:
        redactor = Redactor()
        assert random_text(64) not in redactor.redact("\n".join((*self.LINES, self.END, "")))
        assert redactor.redact("one\n") == "one\n"

    def test_a_mentioned_key_header_does_not_redact_later_lines(self) -> None:
        redactor = Redactor()
        redactor.redact(f"expected {self.LINES[0]} in the file\n")
        assert redactor.redact("Traceback (most recent call last):\n").startswith("Traceback")
        assert redactor.redact("one\n") == "one\n"


class TestStream:
    @staticmethod
    def wrap(**options: bool) -> tuple[RedactedStream, io.BytesIO]:
        target = io.BytesIO()
        return RedactedStream(io.TextIOWrapper(target, "utf-8", newline="", **options)), target

    def test_a_line_buffered_stream_shows_a_progress_bar_immediately(self) -> None:
        stream, target = self.wrap(line_buffering=True)
        stream.write(f" 10%\rAccountKey={KEY}\r 20%")
        assert target.getvalue() == b" 10%\rAccountKey=***\r"
        stream, target = self.wrap()
        stream.write(" 10%\r")
        assert target.getvalue() == b""

    def test_a_write_through_stream_writes_each_piece_immediately(self) -> None:
        stream, target = self.wrap(write_through=True)
        stream.write("begun ")
        assert target.getvalue() == b"begun "
        stream.write(f"AccountKey={KEY}")
        assert target.getvalue() == b"begun AccountKey=***"

    def test_closing_writes_the_incomplete_line(self, tmp_path: Path) -> None:
        file = tmp_path / "said.txt"
        with RedactedStream(file.open("w", encoding="utf-8")) as stream:
            stream.write(f"AccountKey={KEY}")
        assert stream.closed
        assert file.read_text(encoding="utf-8") == "AccountKey=***"

    def test_a_secret_written_in_pieces_is_redacted(self) -> None:
        stream = RedactedStream(target := io.StringIO())
        for piece in ("Account", "Key=", KEY[:9], KEY[9:], ";x\nnext"):
            stream.write(piece)
        assert target.getvalue() == "AccountKey=***;x\n"
        stream.flush()
        assert target.getvalue() == "AccountKey=***;x\nnext"

    def test_write_returns_the_length_and_keeps_every_character(self) -> None:
        text = "Zoë\r\n100%|###|\r\x1b[0m\n\nend"
        stream = RedactedStream(target := io.StringIO(newline=""))
        assert stream.write(text) == len(text)
        stream.writelines(["a\n", "b"])
        stream.flush()
        assert target.getvalue() == text + "a\nb"

    def test_a_line_without_end_is_not_buffered_forever(self) -> None:
        stream = RedactedStream(target := io.StringIO())
        for _ in range(80):
            stream.write("." * 1000)
        assert len(target.getvalue()) > 60_000

    def test_other_attributes_are_those_of_the_wrapped_stream(self) -> None:
        stream = RedactedStream(sys.__stdout__)
        assert stream.encoding == sys.__stdout__.encoding
        assert stream.isatty() == sys.__stdout__.isatty()
        with pytest.raises(TypeError):
            stream.write(b"bytes")


def test_a_log_record_and_its_traceback_are_redacted() -> None:
    try:
        raise ValueError(f"no such file: x?sig={SIGNATURE}")
    except ValueError:
        record = logging.makeLogRecord(
            {"msg": "key %s", "args": (KEY,), "exc_info": sys.exc_info()}
        )
    output = RedactingFormatter(logging.Formatter("%(message)s")).format(record)
    assert output.startswith("key ***\nTraceback")
    assert output.endswith("ValueError: no such file: x?sig=***")


PROGRAM = """
import os, subprocess, sys, threading, warnings
from PACKAGE.safety import protect_output
protect_output(); protect_output()
key = sys.argv[1]
print("out", key, end=""); print("", flush=True)
print("held", os.environ["AZURE_CLIENT_SECRET"], flush=True)
subprocess.run([sys.executable, "-c", "print('child')"], stdout=sys.stdout, check=True)
warnings.warn("warn " + key)
thread = threading.Thread(target=lambda: 1 / len(key.partition(key)[0]), name=key)
thread.start(); thread.join()
print("no end of line " + key, end="")
raise RuntimeError("raised " + key)
"""


def test_all_output_of_a_process_is_redacted() -> None:
    program = PROGRAM.replace("PACKAGE", "kedro_azure_mlops")
    client_secret = random_text(12)
    process = subprocess.run(
        [sys.executable, "-c", program, KEY],
        cwd=ROOT,
        env=new_shell() | {"PYTHONPATH": "src", "AZURE_CLIENT_SECRET": client_secret},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stdout == "out ***\nheld ***\nchild\nno end of line ***"
    assert KEY not in process.stderr
    assert client_secret not in process.stderr
    for message in ("warn ***", "ZeroDivisionError", "RuntimeError: raised ***\n"):
        assert message in process.stderr
