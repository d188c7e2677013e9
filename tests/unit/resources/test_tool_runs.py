"""How a tool is run is kept with it, checked, and with a secret that is sealed."""

from typing import Any

import pytest

from common.failures import Refused
from resources.adapters.hume.catalogue import HumeCatalogue
from resources.catalogue.validation import new_resource, new_version

URL = "https://shop.example/tools/order"


def tool(**run: Any) -> dict[str, Any]:
    return {"name": "order", "parameters": {"type": "object"}, "run": run}


@pytest.mark.parametrize(
    "run",
    [
        {"url": URL},
        {"url": "http://10.1.2.3:8000/", "secret": "sealed:abc", "seconds": 0.1, "on_interrupt": "finish"},
        {"builtin": "weather", "filler": "One moment.", "filler_after": 0.0},
    ],
)
def test_a_run_is_kept_as_it_is_given(run: dict[str, Any]) -> None:
    assert new_resource("tool", tool(**run))["run"] == run
    assert new_version("tool", {"parameters": {"type": "object"}, "run": run})["run"] == run
    assert "run" not in new_resource("tool", {"name": "order", "parameters": {"type": "object"}})


@pytest.mark.parametrize(
    ("run", "param"),
    [
        ({}, "run"),
        ({"url": URL, "builtin": "weather"}, "run"),
        ({"builtin": "weather", "secret": "sealed:abc"}, "run"),
        ({"url": "ftp://shop.example/"}, "run.url"),
        ({"url": "https:///order"}, "run.url"),
        ({"url": URL, "secret": "not sealed"}, "run.secret"),
        ({"url": URL, "seconds": 61}, "run.seconds"),
        ({"url": URL, "on_interrupt": "explode"}, "run.on_interrupt"),
        ({"url": URL, "filler": ""}, "run.filler"),
        ({"url": URL, "unknown": 1}, "run.unknown"),
        ({"builtin": "no such name"}, "run.builtin"),
    ],
)
def test_a_run_that_cannot_be_is_refused(run: dict[str, Any], param: str) -> None:
    with pytest.raises(Refused) as refused:
        new_resource("tool", tool(**run))
    assert (refused.value.status, refused.value.param) == (400, param)


async def test_the_providers_catalogue_keeps_no_such_tools() -> None:
    catalogue = HumeCatalogue.__new__(HumeCatalogue)  # refused before anything of it is used
    for making in (
        catalogue.create(None, "tool", tool(url=URL)),  # type: ignore[arg-type]
        catalogue.create_version(None, "tool", "id", tool(url=URL)),  # type: ignore[arg-type]
    ):
        with pytest.raises(Refused, match="keeps no tools") as refused:
            await making
        assert refused.value.param == "run"
