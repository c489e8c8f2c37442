"""Fixtures: renders of the sample that are run in this process, with tracking of their own."""

from tests.projects import fixtures_of
from tests.template.sample.helpers import Project, rendered

rendered()  # before the test modules import its package

project, _ran, ran = fixtures_of(Project)
