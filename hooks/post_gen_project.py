"""Record the project's origin, commit the project, and print the next steps.

Nothing here may fail a render: failed steps are only reported.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from shlex import quote

# The only way an answer may enter a hook: as JSON in a raw string nothing can break out of.
CONTEXT: dict = json.loads(r'''{{ cookiecutter | tojson }}''')  # fmt: skip

RECORD = ".cruft.json"
# cookiecutter creates these folders even if an answer leaves out their files; inner ones first
CONDITIONAL_FOLDERS = (
    *("azure_pipelines/templates", "azure_pipelines"),
    *(".github/actions/setup", ".github/actions", ".github/workflows", ".github"),
    *("docs/data", "operation/tests/data_validation", "operation/tests/unit"),
    "operation/configuration/spark",
    f"src/{CONTEXT['package_name']}/pipelines/score",
)
LATER = """Updates need the template's URL and commit. Once they are known, run:
kedro mlops update --link URL --to TAG"""
COMMIT = "git init && git add --all --force && git commit --message 'Render the template'"

# If a git command started this hook, it has set these, and git would use another repository.
FOREIGN = {"GIT_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_WORK_TREE"}


class GitError(Exception):
    """Git is missing or failed; the message is its error output."""


def git(*arguments: str, folder: str = ".") -> str:
    """Run git without hooks, signatures and watchers, and return its output."""
    plain = (f"core.hooksPath={os.devnull}", "commit.gpgSign=false", "core.fsmonitor=false")
    options = [word for setting in plain for word in ("-c", setting)]
    environment = {k: v for k, v in os.environ.items() if k not in FOREIGN} | {"LC_ALL": "C"}
    try:
        process = subprocess.run(
            ["git", *options, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise GitError("there is no git on PATH") from error
    if process.returncode:
        raise GitError(process.stderr.strip())
    return process.stdout.strip()


def without_credentials(url: str) -> str | None:
    """Return a URL with its credentials removed; None for a local path."""
    if re.match(r"https?://", url):
        return re.sub(r"^(https?://)[^/]*@", r"\1", url)
    if re.match(r"(ssh|git|git\+ssh)://", url):
        return re.sub(r"^([a-z+]+://[^/:@]*):[^/@]*@", r"\1@", url)
    return url if re.match(r"[\w.-]+@[\w.-]+:(?!/?\w:)", url) else None


def template_folder() -> str:
    """Return the path of the template; a relative one starts where cookiecutter was called.

    A hook runs in the project and does not receive that folder. It is the output folder, unless
    ``--output-dir`` names another one; shells store it in ``PWD``.
    """
    folder, output = CONTEXT["_repo_dir"], CONTEXT["_output_dir"]
    starts = [output, os.environ.get("PWD", output)]
    while (above := os.path.dirname(output)) != output:
        starts.append(output := above)
    candidates = (os.path.normpath(os.path.join(start, folder)) for start in starts)
    return next(
        (path for path in candidates if os.path.isfile(os.path.join(path, "cookiecutter.json"))),
        folder,
    )


def origin() -> dict[str, str | None]:
    """Return the URL, commit, tag and folder of the template.

    Raises GitError if one of them is unknown.
    """
    repository = template_folder()
    try:
        top = git("rev-parse", "--show-toplevel", folder=repository)
        commit = git("rev-parse", "HEAD", folder=repository)
    except (GitError, OSError) as error:
        raise GitError("the template is not a clone of a git repository") from error
    directory = os.path.relpath(os.path.realpath(repository), os.path.realpath(top))
    try:
        url = without_credentials(git("config", "--get", "remote.origin.url", folder=repository))
    except GitError:
        url = None
    if not url:
        raise GitError("the template is a local folder, with no URL to update from")
    if git("status", "--porcelain", "--", ".", folder=repository):
        raise GitError("the template has uncommitted changes")
    if not git("for-each-ref", "--contains", "HEAD", "refs/remotes", "refs/tags", folder=top):
        raise GitError("the template's commit was not pushed")
    listing = ("for-each-ref", "--points-at=HEAD", "--format=%(refname:strip=2)", "refs/tags")
    tags = git(*listing, folder=repository).splitlines()
    requested = CONTEXT.get("_checkout")
    tag = requested if requested in tags or not tags else tags[-1]
    folder = None if directory == "." else directory.replace(os.sep, "/")
    return {"template": url, "commit": commit, "checkout": tag, "directory": folder}


def record() -> None:
    """Write the project's origin in cruft's format."""
    source = origin()
    answers = {key: answer for key, answer in CONTEXT.items() if not key.startswith("_")}
    private = {"_template": source["template"], "_commit": source["commit"]}
    state = {
        "template": source["template"],
        "commit": source["commit"],
        "checkout": source["checkout"],
        "context": {"cookiecutter": answers | private},
        "directory": source["directory"],
    }
    with open(RECORD, "w", encoding="utf-8", newline="\n") as file:
        json.dump(state, file, indent=2, ensure_ascii=False)
        file.write("\n")


def commit() -> None:
    """Commit the render, and nothing else, unless it is inside a repository already."""
    try:
        git("rev-parse", "--git-dir")
    except GitError as error:
        if "not a git repository" not in str(error):
            raise
    else:
        return
    git("-c", "init.defaultBranch=main", "init", "--quiet")
    git("-c", "core.safecrlf=false", "add", "--all", "--force", ".")
    identity = []
    for key, stand_in in {"name": "template", "email": "template@localhost"}.items():
        try:
            git("config", f"user.{key}")
        except GitError:
            identity += ["-c", f"user.{key}={stand_in}"]
    git(*identity, "commit", "--quiet", "--no-verify", "--message", "Render the template")


def record_and_commit() -> list[str]:
    """Record the origin and commit; return what is missing and why."""
    missing = []
    try:
        record()
    except (GitError, OSError) as error:
        missing.append(f"The origin of this project is not recorded: {error}.\n{LATER}")
    try:
        commit()
    except (GitError, OSError) as error:
        missing.append(f"The initial commit was not created: {error}. Later, run:\n{COMMIT}")
    return missing


def is_temporary() -> bool:
    """Return whether this render is in a temporary folder, so only for a comparison."""
    temporary = os.path.realpath(tempfile.gettempdir())
    return os.path.realpath(os.getcwd()).startswith(os.path.join(temporary, ""))


def quoted(path: str) -> str:
    """Return a path quoted for the user's shell."""
    return subprocess.list2cmdline([path]) if os.name == "nt" else quote(path)


def main() -> None:
    """Finish the render."""
    # A character that the console cannot show must not fail a good render.
    sys.stdout.reconfigure(errors="backslashreplace")
    for folder in CONDITIONAL_FOLDERS:
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    # Only cookiecutter itself sets the output folder. Cruft and updates render to compare, and an
    # extra file or commit would be a difference.
    if "_output_dir" in CONTEXT:
        missing = record_and_commit()
    elif is_temporary():
        missing = []
    else:
        missing = [f"Create the initial commit yourself. In the project, run:\n{COMMIT}"]
    print(
        f"""
The project is ready. Next:

  cd {quoted(os.getcwd())}
  make setup
  make run
"""
    )
    for text in missing:
        print(f"{text}\n")


if __name__ == "__main__":
    main()
