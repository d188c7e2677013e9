"""The step that tells tempo and key of an audio file."""

from importlib.util import find_spec

from media.content.analysis_course import Course, Unavailable

VERSION = 1
