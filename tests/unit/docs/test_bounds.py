"""The page of bounds names settings and metrics that exist, and leaves out no setting of a size or a number."""

import re

import pytest

from common.docs.__main__ import REPOSITORY

BOUNDS = (REPOSITORY / "docs/bounds.md").read_text()
SETTINGS = (REPOSITORY / "deploy/reference/settings.md").read_text()
METRICS = (REPOSITORY / "deploy/reference/metrics.md").read_text()
# Of the supervisor and the sandbox, which are no services.
ELSEWHERE = {"SONANT_SANDBOX_RECORD_KEY"}
BOUNDING = re.compile(
    r"SONANT_(?:MAX_\w+|ORGANIZATION_\w+|\w+_BYTES(?:_PER_MINUTE)?|USAGE_\w+|CONCURRENCY|PLACE_SECONDS)"
)


def rows() -> list[str]:
    return [line for line in BOUNDS.splitlines() if line.startswith("| ") and not line.startswith("| what |")]


def test_every_row_tells_what_how_much_by_what_and_where_it_shows() -> None:
    assert rows()
    for row in rows():
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 5, row
        assert all(cells), row


@pytest.mark.parametrize("name", sorted(set(re.findall(r"SONANT_[A-Z_]+", BOUNDS)) - ELSEWHERE))
def test_the_setting_exists(name: str) -> None:
    assert f"`{name}`" in SETTINGS


@pytest.mark.parametrize("name", sorted(set(re.findall(r"sonant_[a-z_]+", BOUNDS))))
def test_the_metric_exists(name: str) -> None:
    assert f"`{name}`" in METRICS


@pytest.mark.parametrize("name", sorted(set(BOUNDING.findall(SETTINGS))))
def test_a_setting_that_bounds_has_its_row(name: str) -> None:
    assert any(f"`{name}`" in row for row in rows())
