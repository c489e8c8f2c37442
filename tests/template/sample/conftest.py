"""Fixtures that run copies of the rendered sample in this process, each with its own tracking."""

from tests.projects import fixtures_of
from tests.template.sample.helpers import Project, rendered

rendered()  # before the test modules import its package

project, _ran, ran = fixtures_of(Project)
