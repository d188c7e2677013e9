"""The ledger of the stand-in of Runware: what was charged is known over its death."""

from pathlib import Path
from typing import Any

from sandbox.runware.task_ledger import JOURNAL, Ledger

UUID = "8c1c5f3e-0f4f-4d7e-9c55-0a6f6b8f1a01"
BODY: dict[str, Any] = {"taskUUID": UUID, "positivePrompt": "a kite", "duration": 5}


def submitted(ledger: Ledger, **more: Any) -> None:
    ledger.submit(ledger.of("key"), {**BODY, **more})


def test_what_was_submitted_is_known_after_a_death(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.arrange("key", {"duplicates": "again", "task_seconds": 7})
    submitted(ledger)
    submitted(ledger)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"kind": "task", "k')
    again = Ledger(str(tmp_path))
    assert again.of("key").summary() == ledger.of("key").summary() | {"calls": {}}
    assert again.of("key").summary()["charges"] == {UUID: 2}
    assert again.of("key").tasks[UUID].seconds == 7


def test_what_is_forgotten_stays_so(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    submitted(ledger)
    ledger.drop("key")
    assert Ledger(str(tmp_path)).of("key").summary()["tasks"] == 0


def test_a_repetition_is_charged_once_unless_it_is_to_be_twice() -> None:
    ledger = Ledger()
    submitted(ledger)
    submitted(ledger)
    assert ledger.of("key").summary()["submissions"] == {UUID: 2}
    assert ledger.of("key").summary()["charges"] == {UUID: 1}


def test_a_task_that_fails_is_not_charged() -> None:
    ledger = Ledger()
    submitted(ledger, positivePrompt="sandbox:fail-timeoutProvider no")
    assert ledger.of("key").summary()["charged_usd"] == 0
