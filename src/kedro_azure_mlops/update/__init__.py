"""Merge the template's changes since a project was rendered, without losing a line.

The project's ``.cruft.json`` records the template's commit and the answers from which it was
rendered. That commit and a newer release are rendered in a temporary folder, and git merges the
difference into the project's HEAD in memory, with its own three-way merge. The work tree is changed
last, in one step that can be undone.

Nothing here imports Kedro, so an update works even if the project's environment is broken. A
separate process renders the template; it needs cookiecutter (``environment``).
"""
