"""Secrets are hidden wherever this process speaks; everything else is left as it is."""

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from kedro_azure_mlops.safety import RedactedStream, RedactingFormatter, Redactor, redact, redacted
from tests.plugin.helpers import ROOT, new_shell
from tests.plugin.seeds import KEY, PASSWORD, SEEDS, SIGNATURE, some

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


def test_a_value_that_is_changed_or_gone_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("before-it", "after-it"):
        monkeypatch.setenv("AZURE_CLIENT_SECRET", value)
        assert redact("before-it after-it") == "before-it after-it".replace(value, "***")
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    assert redact("before-it after-it") == "before-it after-it"


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


def test_what_a_name_says_is_secret_is_hidden_whatever_it_looks_like() -> None:
    names = ("password", "access_token", "storage-key", "pwd")
    secrets = dict(zip(names, ("plain", "word", "a", "b"), strict=True))
    assert redacted(secrets) == dict.fromkeys(secrets, "***")
    assert redacted({"warehouse": {"token": ["x", {"y": "z"}]}}) == {
        "warehouse": {"token": ["***", {"y": "***"}]}
    }
    assert redacted("plain", "warehouse.password") == "***"
    assert redacted("plain", "warehouse.password.value") == "***"


def test_what_a_name_does_not_say_is_secret_is_kept() -> None:
    given = {
        "password": None,
        "secret": "",
        "token": 5,
        "_".join(("passwords", "file")): "x.txt",
        "primary_key": "sensor_id",
        "tokenizer": {"name": "bpe"},
    }
    assert redacted(given) == given
    assert redacted("plain", "warehouse.user") == "plain"


# what each pattern reads much of before it knows that it does not match
LONG = (
    *("ab-", "aB3-", "a.", "eyJ", "eyJ-", "eyJaaaaaaaa.", "eyJaaaaaaaa-", "://", "a://b:", "https://a@"),
    *("password=", "password=a(", "password: ", "password:a", '"password":"', 'password="', "key"),
    *("--", "--a", "--token ", "authorization:", "authorization: a ", "bearer "),
    *("&sig=a", "_token=a", "a2", "=", "8Q~", "gh" + "p_", "password='\\", "primary_key="),
    *("-----BEGIN ", "-----BEGIN " + "PRIVATE KEY-----", "-----END ", "\\", "[", "{", "$", " "),
)  # fmt: skip


@pytest.mark.parametrize("start", ["key ", "eyJ", "password="])
def test_a_long_text_is_read_to_its_end(start: str) -> None:
    """It takes minutes if a pattern reads the rest of the text again at each of its places."""
    for piece in LONG:
        redact(start + piece * (60_000 // len(piece)))
        Redactor().redact(start + piece * (60_000 // len(piece)))


class TestKeyOfManyLines:
    LINES = ("-----BEGIN RSA " + "PRIVATE KEY-----", some(64), some(64), some(7), "")
    END = "-----END RSA " + "PRIVATE KEY-----"

    @pytest.mark.parametrize("before", ["", "12:00 INFO  "])
    def test_is_hidden_to_its_end_and_no_further(self, before: str) -> None:
        stream = RedactedStream(target := io.StringIO())
        lines = [before + line for line in self.LINES[: 3 if before else None]]
        for line in ("first", *lines, self.END, "after it", some(64)[:9]):
            stream.write(line + "\n")
        said = target.getvalue()
        assert not any(line in said for line in self.LINES[1:4])
        assert said.startswith(f"first\n{before}{self.LINES[0]} *** {self.END}\nafter it\n")

    def test_nothing_is_hidden_after_a_key_that_is_whole(self) -> None:
        redactor = Redactor()
        assert some(64) not in redactor.redact("\n".join((*self.LINES, self.END, "")))
        assert redactor.redact("one\n") == "one\n"

    def test_who_only_speaks_of_one_is_heard_again(self) -> None:
        redactor = Redactor()
        redactor.redact(f"expected {self.LINES[0]} in the file\n")
        assert redactor.redact("Traceback (most recent call last):\n").startswith("Traceback")
        assert redactor.redact("one\n") == "one\n"


class TestStream:
    @staticmethod
    def over(**options: bool) -> tuple[RedactedStream, io.BytesIO]:
        target = io.BytesIO()
        return RedactedStream(io.TextIOWrapper(target, "utf-8", newline="", **options)), target

    def test_a_progress_bar_is_seen_where_lines_are(self) -> None:
        stream, target = self.over(line_buffering=True)
        stream.write(f" 10%\rAccountKey={KEY}\r 20%")
        assert target.getvalue() == b" 10%\rAccountKey=***\r"
        stream, target = self.over()
        stream.write(" 10%\r")
        assert target.getvalue() == b""

    def test_what_writes_through_gets_each_piece_at_once(self) -> None:
        stream, target = self.over(write_through=True)
        stream.write("begun ")
        assert target.getvalue() == b"begun "
        stream.write(f"AccountKey={KEY}")
        assert target.getvalue() == b"begun AccountKey=***"

    def test_it_is_closed_with_all_that_was_begun(self, tmp_path: Path) -> None:
        file = tmp_path / "said.txt"
        with RedactedStream(file.open("w", encoding="utf-8")) as stream:
            stream.write(f"AccountKey={KEY}")
        assert stream.closed
        assert file.read_text(encoding="utf-8") == "AccountKey=***"

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


def test_everything_that_a_process_prints_is_protected() -> None:
    program = PROGRAM.replace("PACKAGE", "kedro_azure_mlops")
    held = some(12)
    process = subprocess.run(
        [sys.executable, "-c", program, KEY],
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
