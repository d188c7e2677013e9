"""The generated files in the repository are what the declarations say."""

from common.docs.__main__ import REPOSITORY, broken_promises, differing


def test_generated_files_are_current() -> None:
    assert differing(REPOSITORY) == [], "run make generate"


def test_no_declaration_breaks_a_frozen_schema() -> None:
    assert broken_promises(REPOSITORY) == []
