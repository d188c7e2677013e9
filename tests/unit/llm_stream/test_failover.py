"""The parts of llm-stream's failover policy that need no socket: breaker, sentences, models file, waits, requests."""

import email.utils
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.events.backoff import Backoff
from common.providers.breaker import Breaker
from common.providers.retry_after import retry_after
from llm_stream.aliases import OPENAI_URL, ModelsFileError, Upstream, load
from llm_stream.answer.ask import merge_request
from llm_stream.answer.attempt import BUSY_BACKOFF
from llm_stream.answer.failover import BACKOFF
from llm_stream.answer.failure import failed
from llm_stream.answer.sentences import MAX_HELD_CHARACTERS, SkipPrefix, releasable
from llm_stream.ports import UpstreamBroken, UpstreamBusy

# -- breaker ----------------------------------------------------------------------------------------------------------


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(failures=3, open_seconds=5.0, clock=clock)


def break_it(breaker: Breaker) -> None:
    for _ in range(3):
        assert breaker.try_enter()
        breaker.failed()


def test_a_breaker_opens_after_failures_in_a_row(breaker: Breaker) -> None:
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.state == "closed"
    break_it(breaker)
    assert breaker.state == "open"
    assert not breaker.try_enter()
    assert breaker.opens_in() == 5.0


def test_a_recovering_upstream_is_probed_by_one(breaker: Breaker, clock: Clock) -> None:
    break_it(breaker)
    clock.now += 5.0
    assert breaker.opens_in() == 0.0
    assert [breaker.try_enter() for _ in range(3)] == [True, False, False]
    assert breaker.state == "probing"
    breaker.succeeded()
    assert breaker.state == "closed"
    assert all(breaker.try_enter() for _ in range(3))


def test_a_failed_probe_opens_the_breaker_again(breaker: Breaker, clock: Clock) -> None:
    break_it(breaker)
    clock.now += 5.0
    assert breaker.try_enter()
    breaker.failed()
    assert breaker.state == "open"
    assert breaker.opens_in() == 5.0


def test_a_probe_without_a_verdict_leaves_its_place_to_another(breaker: Breaker, clock: Clock) -> None:
    break_it(breaker)
    clock.now += 5.0
    assert breaker.try_enter()
    breaker.left()
    assert breaker.try_enter()


def test_a_busy_upstream_rests_and_then_lets_everybody_back(breaker: Breaker, clock: Clock) -> None:
    breaker.rest(2.0)
    breaker.rest(1.0)
    assert (breaker.state, breaker.try_enter(), breaker.rests_for(), breaker.opens_in()) == ("closed", False, 2.0, 2.0)
    clock.now += 2.0
    assert all(breaker.try_enter() for _ in range(3))
    assert breaker.rests_for() == 0.0


def test_a_probe_that_meets_a_rate_limit_is_repeated_after_the_rest(breaker: Breaker, clock: Clock) -> None:
    break_it(breaker)
    clock.now += 5.0
    assert breaker.try_enter()
    breaker.rest(3.0)
    assert not breaker.try_enter()
    clock.now += 3.0
    assert [breaker.try_enter(), breaker.try_enter()] == [True, False]


# -- sentences --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("", ""),
        ("Hello", ""),
        ("Hello.", ""),  # "3." may go on as "3.14"
        ("Hello. ", "Hello. "),
        ("Hello. How are", "Hello. "),
        ("One. Two! Three? Fo", "One. Two! Three? "),
        ('He said "stop!" and', 'He said "stop!" '),
        ("Wait\u2026 what", "Wait\u2026 "),
        ("3.14 is pi", ""),
        ("line one\nline two", "line one\n"),
        ("\u4f60\u597d\u3002\u518d", "\u4f60\u597d\u3002"),
        ("a" * (MAX_HELD_CHARACTERS - 1), ""),
        ("a" * MAX_HELD_CHARACTERS, "a" * MAX_HELD_CHARACTERS),
        ("word " * 60 + "end", "word " * 60),
    ],
)
def test_text_is_released_up_to_the_end_of_a_sentence(text: str, out: str) -> None:
    assert text[: releasable(text)] == out


@given(st.text(alphabet="ab .!?\n\u3002'\"", max_size=400))
def test_held_text_is_neither_lost_nor_held_for_long(text: str) -> None:
    held, out = "", ""
    for character in text:
        held += character
        end = releasable(held)
        out, held = out + held[:end], held[end:]
        assert len(held) < MAX_HELD_CHARACTERS
    assert out + held == text


def fed(released: str, pieces: list[str]) -> str:
    skip = SkipPrefix(released)
    return "".join(skip.feed(piece) for piece in pieces) + skip.finish()


@pytest.mark.parametrize(
    ("released", "said", "new"),
    [
        ("", " anything", " anything"),
        ("One. Two. ", "One. Two. Three.", "Three."),
        ("One. Two. ", "  One. Two.\nThree.", "Three."),
        ("One. Two. ", "Three.", "Three."),
        ("One. Two. ", " Three.", "Three."),
        ("One. Two. ", "One. More.", "One. More."),
        ("One. Two. ", "One.", "One."),
        ("One. Two. ", "One. Two.", ""),
        ("One. Two. ", "One. Two.  ", ""),
        ("List:\n", "  - indented", "  - indented"),
        ("List:\n", "List:\n  - indented", "  - indented"),
        ("List:\n", "\n- after a gap", "\n- after a gap"),
        ("\u4f60\u597d\u3002", "\u518d\u89c1", "\u518d\u89c1"),
        ("a" * 300, " b", " b"),
        ("One. ", "", ""),
    ],
)
def test_what_a_fallback_repeats_is_skipped(released: str, said: str, new: str) -> None:
    assert fed(released, [said]) == new
    assert fed(released, list(said)) == new


@given(st.text(alphabet="ab. \n", max_size=40), st.text(alphabet="ab. \n", max_size=40), st.data())
def test_a_fallback_that_starts_over_word_for_word_adds_only_what_is_new(
    released: str, rest: str, data: st.DataObject
) -> None:
    said = released + rest
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=5)))
    pieces = [said[a:b] for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True)]
    heard = released + fed(released, pieces)
    assert heard.split() == said.split() or not released.strip()
    if released.strip() and rest.strip():
        assert heard == said


# -- models file ------------------------------------------------------------------------------------------------------

UPSTREAM = '{ name = "a", base_url = "http://h/v1", model = "m" }'


def write(directory: Path, text: str | bytes) -> Path:
    file = directory / "models.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_an_alias_has_defaults_that_fit_its_upstreams(tmp_path: Path) -> None:
    text = f"[aliases]\none = {{ upstreams = [{UPSTREAM}] }}\ntwo = {{ upstreams = [{UPSTREAM}, {UPSTREAM}] }}"
    aliases = load(write(tmp_path, text), None).aliases
    assert not aliases["one"].holds_sentences
    assert aliases["two"].holds_sentences


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no aliases"),
        ("aliases = 1", "aliases"),
        ("= nonsense", "Invalid"),
        (b"\xff\xfe", "utf-8"),
        ("[aliases]\na = { upstreams = [] }", "at least 1"),
        ("[aliases]\na = { }", "upstreams"),
        (f"[aliases]\na = {{ upstreams = [{UPSTREAM}], tries = 0 }}", "tries"),
        (f"[aliases]\na = {{ upstreams = [{UPSTREAM}], idle_timeout = 0 }}", "idle_timeout"),
        (f"[aliases]\na = {{ upstreams = [{UPSTREAM}], release = 'words' }}", "release"),
        (f"[aliases]\na = {{ upstreams = [{UPSTREAM}], typo = 1 }}", "typo"),
        (f"[aliases]\na = {{ upstreams = [{UPSTREAM}], larger = 'b' }}", "does not exist"),
        (f"[aliases]\na = {{ upstreams = [{UPSTREAM}], larger = 'a' }}", "leads back"),
        (
            f"[aliases]\na = {{ upstreams = [{UPSTREAM}], larger = 'b' }}\n"
            f"b = {{ upstreams = [{UPSTREAM}], larger = 'a' }}",
            "leads back",
        ),
        (f"[aliases]\n'a b' = {{ upstreams = [{UPSTREAM}] }}", "pattern"),
        ("[aliases]\na = { upstreams = [" + UPSTREAM.replace("http:", "file:") + "] }", "base_url"),
    ],
)
def test_a_models_file_that_contradicts_itself_is_refused_with_a_reason(
    tmp_path: Path, text: str | bytes, complaint: str
) -> None:
    with pytest.raises(ModelsFileError, match=complaint):
        load(write(tmp_path, text), None)


def test_a_models_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelsFileError, match="No such file"):
        load(tmp_path / "none.toml", None)


def test_a_chain_of_larger_aliases_is_fine(tmp_path: Path) -> None:
    chain = "\n".join(
        f"{name} = {{ upstreams = [{UPSTREAM}]{larger} }}"
        for name, larger in {"a": ", larger = 'b'", "b": ", larger = 'c'", "c": ""}.items()
    )
    assert set(load(write(tmp_path, f"[aliases]\n{chain}"), None).aliases) == {"a", "b", "c"}


def test_without_a_file_the_default_alias_is_what_there_is() -> None:
    [unconfigured] = load(None, None, {}).aliases["default"].upstreams
    with pytest.raises(KeyError, match="OPENAI_API_KEY"):
        unconfigured.key({})
    [sandbox] = load(None, "http://h", {}).aliases["default"].upstreams
    assert (sandbox.base_url, sandbox.provider, sandbox.key({})) == ("http://h/v1", "sandbox", None)
    [openai] = load(None, "http://h", {"OPENAI_API_KEY": "sk"}).aliases["default"].upstreams
    assert (openai.base_url, openai.key({"OPENAI_API_KEY": " sk\n"})) == (OPENAI_URL, "sk")


@pytest.mark.parametrize("environment", [{}, {"KEY": ""}, {"KEY": " \n"}])
def test_a_key_that_is_not_set_or_empty_is_missing(environment: dict[str, str]) -> None:
    upstream = Upstream(name="a", base_url="http://h", model="m", key_env="KEY")
    with pytest.raises(KeyError, match="KEY"):
        upstream.key(environment)


# -- waits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "7"}, 7.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_a_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_a_retry_after_may_be_a_date() -> None:
    told = retry_after({"retry-after": email.utils.formatdate(time.time() + 30, usegmt=True)})
    assert told is not None
    assert 28 < told <= 30


@pytest.mark.parametrize("backoff", [BACKOFF, BUSY_BACKOFF])
def test_pauses_grow_with_jitter_up_to_a_ceiling(backoff: Backoff) -> None:
    for attempt in range(1, backoff.attempts + 1):
        full = min(backoff.ceiling, backoff.first * 2 ** (attempt - 1))
        delays = [backoff.delay(attempt) or 0.0 for _ in range(50)]
        assert all(full / 2 <= delay <= full for delay in delays)
        assert len(set(delays)) > 1
    assert backoff.delay(backoff.attempts + 1) is None


# -- what the client is told ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [None, 408, 409, 500, 503])
def test_what_an_upstream_may_take_back_is_not_our_fault(status: int | None) -> None:
    assert not UpstreamBroken("x", status=status).ours


@pytest.mark.parametrize("status", [302, 401, 402, 403, 404, 405, 415])
def test_what_an_upstream_says_about_our_settings_is_not_passed_on(status: int) -> None:
    error = failed(UpstreamBroken("bad key sk-secret", status=status)).error
    assert error.status == 502
    assert "sk-secret" not in error.message


def test_a_rate_limit_is_told_with_the_time_to_come_back() -> None:
    limited = failed(UpstreamBusy("slow down", retry_after=None, exhausted=False), 4.0)
    assert (limited.error.status, limited.retry_after) == (429, 4.0)
    spent = failed(UpstreamBusy("no money", retry_after=None, exhausted=True, code="insufficient_quota"), 4.0)
    assert (spent.error.code, spent.retry_after) == ("insufficient_quota", None)


# -- the upstream's request -------------------------------------------------------------------------------------------

PLAIN = Upstream(name="a", base_url="http://h", model="m")


def test_a_request_is_the_callers_with_our_model_and_stream_options() -> None:
    body = {"model": "alias", "stream": True, "temperature": 0.5, "messages": [{"role": "user", "content": "hi"}]}
    request = merge_request(body, PLAIN, stream=True, released="")
    assert request == {**body, "model": "m", "stream_options": {"include_usage": True}}
    assert body["model"] == "alias"
    whole = merge_request({**body, "stream_options": {"include_usage": True}}, PLAIN, stream=False, released="")
    assert "stream_options" not in whole
    bare = merge_request(body, PLAIN.model_copy(update={"capabilities": frozenset()}), stream=True, released="")
    assert "stream_options" not in bare


def test_a_continuation_shows_what_was_released() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    request = merge_request(body, PLAIN, stream=True, released="Hello. ")
    assert [message["role"] for message in request["messages"]] == ["user", "assistant", "system"]
    assert request["messages"][1]["content"] == "Hello. "
    assert len(body["messages"]) == 1


def test_what_voice_platforms_add_to_messages_stays_with_us() -> None:
    message = {"role": "user", "content": "hi", "type": "user_message", "time": {"begin": 0}, "models": {}}
    [sent] = merge_request({"messages": [message]}, PLAIN, stream=False, released="")["messages"]
    assert sent == {"role": "user", "content": "hi"}
