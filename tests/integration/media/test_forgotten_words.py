"""What users said and was deleted does not come back, whichever of both is done first."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.events.documents import MEMORY
from common.failures import Refused
from tests.support.engines import new_database
from tests.support.passages import Library, library_on

SAID = "The user said on 2026-09-21: My daughter is allergic to walnuts."
QUESTION = "allergic to walnuts"
NOW = time.time()


@pytest.fixture(scope="module")
async def library(
    postgres_url: str, text_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Library]:
    async with new_database(postgres_url, "forgotten") as database_url:
        async with library_on(database_url, text_models, tmp_path_factory.mktemp("words")) as library:
            yield library


async def remember(library: Library, org: str, *, session: str = "monday", turn: str = "t-1", at: float = NOW) -> None:
    """What Ada said in a turn is taken in."""
    metadata = {"session": session, "turn": turn, "said_at": at}
    await library.add(org, f"{session}/{turn}", SAID, collection=MEMORY, user_id="ada", metadata=metadata)


async def known(library: Library, org: str) -> int:
    return len(await library.texts(org, QUESTION, user_id="ada", mode="lexical"))


async def test_words_that_are_still_on_their_way_are_not_taken_in(library: Library) -> None:
    await library.rows.forget("late", "ada", NOW + 1)
    with pytest.raises(Refused, match="deleted meanwhile"):
        await remember(library, "late")
    assert await known(library, "late") == 0
    await remember(library, "late", at=NOW + 2)
    assert await known(library, "late") == 1


async def test_a_session_or_a_turn_is_forgotten_and_nothing_else(library: Library) -> None:
    for session, turn in (("monday", "t-1"), ("monday", "t-2"), ("friday", "t-3")):
        await remember(library, "some", session=session, turn=turn)
    assert await library.rows.forget_said("some", "monday", "t-1", NOW + 1) == 1
    assert await library.rows.forget_said("some", "monday", None, NOW + 1) == 1
    assert await known(library, "some") == 1
    for turn in ("t-1", "t-2"):
        with pytest.raises(Refused):
            await remember(library, "some", turn=turn)
    assert await library.rows.forget_said("another", "friday", None, NOW + 1) == 0
    assert await known(library, "some") == 1


async def test_both_at_once_leave_nothing(library: Library) -> None:
    for number in range(10):
        org = f"race-{number}"
        told = asyncio.gather(*(remember(library, org, turn=f"t-{turn}") for turn in range(3)), return_exceptions=True)
        await asyncio.gather(told, library.rows.forget(org, "ada", NOW + 1))
        assert await known(library, org) == 0
