"""Entries of the cache of resources, who a rollout reaches, and what two sets differ in."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.clients.resources.entries import Entry, Version, in_candidate, layers, scope_key, version_key
from common.events.reply import content
from common.events.resource_terms import Pin, Pins
from resources.active.revision_diff import pin_changes, prompt_diff, rough_prompt_diff
from resources.ports import Item
from resources.scopes import Pinned

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
long_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=60, max_size=200)


@given(
    st.builds(
        Entry,
        clock=st.integers(0, 2**53),
        fresh_until=st.floats(0, 4e9),
        changed_at=st.floats(0, 4e9),
        revision=st.none() | st.integers(1, 2**31),
        candidate_revision=st.none() | st.integers(1, 2**31),
        percent=st.floats(0, 100),
        problem=st.none() | names,
        current=st.just(b'{"text":"one\\ntwo"}') | st.just(b""),
        candidate=st.just(b'{"a":1}') | st.just(b""),
    )
)
def test_an_entry_is_read_back_as_it_was_written(entry: Entry) -> None:
    assert Entry.unpack(entry.pack()) == entry
    assert entry.pack().startswith(b"%d\n" % entry.clock)


@given(
    st.builds(
        Version, clock=st.integers(0, 2**53), fresh_until=st.floats(0, 4e9), status=st.just(404), body=st.just(b"{}")
    )
)
def test_a_version_is_read_back_as_it_was_written(version: Version) -> None:
    assert Version.unpack(version.pack()) == version


@given(*[st.tuples(names, names, names)] * 2)
def test_different_scopes_have_different_keys(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assert (scope_key(*one) == scope_key(*other)) == (one == other)


@given(long_names, long_names)
def test_a_long_name_makes_no_long_key(one: str, other: str) -> None:
    keys = {scope_key("org", "project", id) for id in (one, other)}
    assert len(keys) == len({one, other})
    assert all(len(key) < 200 for key in keys)


@given(names.filter(bool), names, names)
def test_all_keys_of_an_organisation_share_a_slot_that_its_name_cannot_leave(org: str, one: str, other: str) -> None:
    keys = [scope_key(org, one, other), version_key(org, "tool", other)]
    assert len({key[key.index("{") : key.index("}") + 1] for key in keys}) == 1
    assert all(key.count("{") == key.count("}") == 1 for key in keys)


@pytest.mark.parametrize(
    ("project", "user", "places"),
    [
        ("p", "u", [("p", "u"), ("p", ""), ("", "")]),
        ("p", "", [("p", ""), ("", "")]),
        ("", "", [("", "")]),
    ],
)
def test_layers_go_from_the_user_outwards(project: str, user: str, places: list[tuple[str, str]]) -> None:
    assert layers(project, user) == places


# -- rollouts ---------------------------------------------------------------------------------------------------------


@given(names, names, names, st.floats(0, 100), st.floats(0, 100))
def test_a_growing_rollout_keeps_whom_it_reached(org: str, project: str, user: str, one: float, other: float) -> None:
    reached = [in_candidate(org, project, user, percent) for percent in sorted((one, other))]
    assert reached[1] or not reached[0]


@given(names, names, names)
def test_nobody_is_reached_at_0_and_everybody_at_100(org: str, project: str, user: str) -> None:
    assert not in_candidate(org, project, user, 0.0)
    assert in_candidate(org, project, user, 100.0)


def test_a_rollout_reaches_the_share_it_says() -> None:
    users = 20_000
    for percent in (1.0, 25.0, 50.0, 90.0):
        reached = sum(in_candidate("org", "project", f"user-{number}", percent) for number in range(users))
        # Five standard deviations: users differ by one character, and still fall evenly.
        assert abs(reached / users - percent / 100) < 5 * (0.25 / users) ** 0.5


def test_who_is_reached_never_changes() -> None:
    """These answers are kept by nobody: another hash would move users between sets with an update."""
    reached = [number for number in range(20) if in_candidate("org-1", "default", f"user-{number}", 30.0)]
    assert reached == [3, 7, 8, 10, 12, 14, 18, 19]


def test_projects_and_organisations_draw_independently() -> None:
    users = [f"user-{number}" for number in range(1_000)]
    drawn = {
        (org, project): {user for user in users if in_candidate(org, project, user, 50.0)}
        for org in ("org-1", "org-2")
        for project in ("a", "b")
    }
    pairs = [(one, other) for one in drawn.values() for other in drawn.values() if one is not other]
    assert all(150 < len(one & other) < 350 for one, other in pairs)


# -- differences ------------------------------------------------------------------------------------------------------


def prompt(version: int, text: str) -> Item:
    return Item("prompt", "p", "greeter", version, 0, 0, {"text": text})


def pins(prompt_version: int | None = 0, *tools: tuple[str, int | None], **more: Any) -> Pins:
    chosen = tuple(Pin(id=id, version=version) for id, version in tools)
    return Pins(config=Pin(id="c", version=0), prompt=Pin(id="p", version=prompt_version), tools=chosen, **more)


def items(*found: Item) -> dict[Pinned, Item]:
    return {Pinned(item.kind, item.id, item.version): item for item in found}


def test_the_same_set_does_not_differ() -> None:
    same = pins(0, ("t", None))
    assert (pin_changes(same, same, {}), prompt_diff(same, same, {})) == ((), None)


def test_the_order_of_tools_is_no_difference() -> None:
    assert pin_changes(pins(0, ("a", 0), ("b", 0)), pins(0, ("b", 0), ("a", 0)), {}) == ()


def test_every_slot_that_differs_is_named_with_how() -> None:
    old = pins(0, ("kept", 0), ("moved", 0), ("removed", None))
    new = pins(1, ("kept", 0), ("moved", None), ("added", 2), voice=Pin(id="v", version=0))
    changes = pin_changes(old, new.model_copy(update={"config": Pin(id="other")}), {})
    assert [(change.slot, change.change) for change in changes] == [
        ("config", "replaced"),
        ("prompt", "moved"),
        ("voice", "added"),
        ("tool", "moved"),
        ("tool", "removed"),
        ("tool", "added"),
    ]


def test_the_text_of_a_prompt_is_compared_line_by_line() -> None:
    found = items(prompt(0, "Greet.\nBe brief.\nEnd."), prompt(1, "Greet.\nBe thorough.\nEnd."))
    [change] = pin_changes(pins(0), pins(1), found)
    assert content(change)["old"] == {"id": "p", "version": 0, "name": "greeter"}
    assert prompt_diff(pins(0), pins(1), found) == (
        "--- greeter (version 0)\n+++ greeter (version 1)\n@@ -1,3 +1,3 @@\n Greet.\n-Be brief.\n+Be thorough.\n End.\n"
    )


@pytest.mark.parametrize("gone", [0, 1])
def test_a_text_that_is_gone_is_not_compared(gone: int) -> None:
    assert prompt_diff(pins(0), pins(1), items(prompt(1 - gone, "there"))) is None


def test_of_texts_of_many_lines_everything_between_the_first_and_the_last_difference_is_shown() -> None:
    lines = [f"line {number}\n" for number in range(6_000)]
    changed = [*lines[:10], "other\n", *lines[11:20], "another\n", *lines[21:]]
    found = items(prompt(0, "".join(lines)), prompt(1, "".join(changed)))
    diff = (prompt_diff(pins(0), pins(1), found) or "").splitlines()
    assert diff[2] == "@@ -8,17 +8,17 @@"
    assert [line[0] for line in diff[3:]] == [*"   ", *("-" * 11), *("+" * 11), *"   "]


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_a_rough_diff_turns_the_one_text_into_the_other(before: list[str], after: list[str]) -> None:
    found = items(prompt(0, "\n".join(before)), prompt(1, "\n".join(after)))
    rough = rough_prompt_diff(pins(0), pins(1), found)
    assert (rough is None) == (before == after)
    applied = list(before)
    for line in (rough or "").splitlines()[2:3]:
        _, old, _, _ = line.split()
        start, _, count = old[1:].partition(",")
        body = (rough or "").splitlines()[3:]
        first = int(start) - (count != "0")
        kept = [each[1:] for each in body if each[0] in " -"]
        assert applied[first : first + len(kept)] == kept
        applied[first : first + len(kept)] = [each[1:] for each in body if each[0] in " +"]
    assert applied == after
