"""The shell of a user whose git settings change its output and behaviour."""

from pathlib import Path

from tests.plugin.update.updating import Template

# Global settings that change the output and the behaviour of git.
SETTINGS = """
[advice]
    statusHints = true
[alias]
    add = !false
    status = log
    tag = !echo alias
[branch]
    sort = -committerdate
[color]
    ui = always
    advice = always
    push = always
    status = always
    transport = always
[column]
    ui = always
    branch = always
    status = always
    tag = always row dense
[commit]
    gpgSign = true
    status = false
    verbose = true
[core]
    abbrev = 4
    autocrlf = input
    fsmonitor = {folder}/monitor
    pager = {folder}/pager
    quotePath = true
    safecrlf = true
    splitIndex = true
    untrackedCache = true
[diff]
    external = {folder}/pager
    mnemonicPrefix = true
    noprefix = true
    orderFile = {folder}/order
    renames = false
    statGraphWidth = 1
[fetch]
    all = true
    prune = true
[gpg]
    program = {folder}/pager
[grep]
    lineNumber = true
[i18n]
    commitEncoding = ISO-8859-1
    logOutputEncoding = UTF-16
[index]
    version = 4
[init]
    defaultBranch = other
[log]
    abbrevCommit = true
    date = relative
    decorate = full
    showSignature = true
[merge]
    conflictStyle = merge
    renames = false
[pager]
    add = {folder}/pager
    ls-files = {folder}/pager
    ls-tree = {folder}/pager
    status = {folder}/pager
    tag = {folder}/pager
[push]
    followTags = true
    gpgSign = if-asked
[status]
    aheadBehind = true
    branch = true
    displayCommentPrefix = true
    relativePaths = true
    renames = copies
    short = true
    showStash = true
    showUntrackedFiles = all
    submoduleSummary = true
[tag]
    gpgSign = true
    sort = -version:refname
[versionsort]
    suffix = -rc
"""
ENVIRONMENT = {
    "GIT_DIFF_OPTS": "--unified=0",
    "GIT_ICASE_PATHSPECS": "1",
    "GIT_NOGLOB_PATHSPECS": "1",
    "GIT_PAGER": "false",
    "LANG": "de_DE.UTF-8",
    "LANGUAGE": "de",
    "LC_ALL": "de_DE.UTF-8",
    "PAGER": "false",
}
PROGRAM = "#!/bin/sh\ntouch {folder}/called\necho HOSTILE\necho HOSTILE >&2\nexit 1\n"


def hostile_shell(template: Template, folder: Path) -> dict[str, str]:
    """Write a global configuration and its programs; return the variables that activate it."""
    folder.mkdir()
    usual = Path(template.shell["GIT_CONFIG_GLOBAL"]).read_text(encoding="utf-8")
    text = usual + SETTINGS.format(folder=folder)
    (folder / "config").write_text(text, encoding="utf-8")
    (folder / "order").write_text("*.txt\n*.py\n", encoding="utf-8")
    for name in ("monitor", "pager"):
        (folder / name).write_text(PROGRAM.format(folder=folder), encoding="utf-8")
        (folder / name).chmod(0o755)
    return ENVIRONMENT | {"GIT_CONFIG_GLOBAL": str(folder / "config")}
