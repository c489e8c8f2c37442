"""Merge what the template changed since a project was rendered, without losing a line.

The project's ``.cruft.json`` says from which commit of the template and with which answers it was
rendered. Both that commit and a newer release are rendered apart from the project; git merges the
difference into the project's HEAD with its own three-way merge, in memory. Only when all is ready
the work tree is changed, in one step that can be undone.

Nothing here imports Kedro: an update works where the project's environment does not. What renders
is a process of its own, which needs cookiecutter (``environment``).
"""
