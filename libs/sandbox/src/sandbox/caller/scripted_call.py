"""A call of twenty turns as a voice platform makes it, and what of it went otherwise than a platform needs.

Said and answered, tools of the platform and of the server, turns that come twice, answers that are spoken over before
and after something of them was heard, utterances that go on, silence, and words that nobody measured. In the end the
server must remember what was spoken, and nothing else.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import aiohttp

from sandbox.caller.voice_platforms import Caller, Heard, JsonObject

CALM = {"Calmness": 0.8, "Joy": 0.3, "Surprise (positive)": 0.0}
EXCITED = {"Excitement": 0.9, "Joy": 0.7, "Aesthetic Appreciation": 0.1}
# A name that nobody knows, and values that are none.
ODD: dict[str, Any] = {**EXCITED, "Of Tomorrow": 0.5, "Anger": None, "Fear": "much"}
STORY = (
    "This is a story that is told slowly, one small word after another, so that there is time enough to speak over it "
    "before it comes to its end; and it has a second part as well, in which hardly anything happens, "
    "and a third one that nobody has ever heard, since somebody always had something better to say by then."
)
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
RESULT = "cloudless, 24 degrees"
# Of a story that is spoken over.
HEARD_CHARACTERS = 24

Turn: TypeAlias = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True)
class PlayedTurn:
    """One turn: what it is about, and what went wrong with it."""

    number: int
    what: str
    problem: str | None


@dataclass
class ScriptedCall:
    """The script, on one caller. `slow` is a model that speaks for seconds: an answer that is over cannot be stopped.

    `exact`: the model does what `Say: …` asks, as the sandbox does, so that its words are looked at too. `begun` is
    waited for before an answer is spoken over of which nothing is to be heard.
    """

    caller: Caller
    model: str = "default"
    slow: str = "default"
    exact: bool = True
    begun: Callable[[str], Awaitable[None]] | None = None
    scores: JsonObject | None = None
    # What was said in turns of which the user has heard nothing, or that were said anew.
    unheard: list[str] = field(default_factory=list)

    async def play(self) -> list[PlayedTurn]:
        """All turns in order; a turn with a problem does not end the call."""
        played = []
        for number, (what, turn) in enumerate(self._turns(), 1):
            try:
                problem = await turn()
            except (aiohttp.ClientError, TimeoutError, LookupError, ValueError, TypeError) as error:
                problem = f"{type(error).__name__}: {error}"
            played.append(PlayedTurn(number, what, problem))
        return played

    def _turns(self) -> list[tuple[str, Turn]]:
        said = [("said and answered", self._says(f"reply {n}", EXCITED if n % 2 else CALM)) for n in range(1, 5)]
        return [
            *said,
            ("a tool of the platform", self._platform_tool),
            ("a tool of the server", self._server_tool if self.caller.asks_for_tools else self._platform_tool),
            ("sent twice", self._doubled(7)),
            ("sent twice", self._doubled(8)),
            ("spoken over at once", self._spoken_over(9)),
            ("spoken over at once", self._spoken_over(10)),
            ("spoken over, and the platform tells what was heard", self._cut_off(11, tells=True)),
            ("spoken over, and the history shows what was heard", self._cut_off(12, tells=False)),
            ("said on", self._outgrown(13)),
            ("said on", self._outgrown(14)),
            ("silence", self._silence),
            ("the assistant spoke last", self._spoke_last),
            ("typed", self._says("typed 17", None)),
            ("typed", self._says("typed 18", None)),
            ("what the server remembers", self._remembers),
            ("goodbye", self._says("goodbye", EXCITED)),
        ]

    def user(self, text: str, scores: JsonObject | None) -> JsonObject:
        """What the user says now; the last scores stay known."""
        if scores is not None:
            self.scores = {name: score for name, score in scores.items() if isinstance(score, float)}
        return self.caller.user(text, scores)

    def _problem(self, heard: Heard, expected: str | None = None) -> str | None:
        if heard.status != 200:
            return f"status {heard.status}: {heard.events}"
        if not heard.done:
            return "the stream has no end"
        if expected is not None and self.exact and heard.text != expected:
            return f"said {heard.text!r} and not {expected!r}"
        return self.caller.wrong(heard, self.scores)

    # -- the turns ------------------------------------------------------------------------------------------------

    def _says(self, text: str, scores: JsonObject | None) -> Turn:
        async def turn() -> str | None:
            heard = await self.caller.says(self.user(f"Say: {text}", scores), model=self.model)
            return self._problem(heard, text)

        return turn

    async def _platform_tool(self) -> str | None:
        caller = self.caller
        said = self.user("What is the weather in Lisbon?", CALM)
        tools = [caller.tool("get_weather", "The weather of a city", WEATHER)]
        asked = await caller.says(said, model=self.model, tools=tools)
        if not asked.calls or asked.calls[0]["name"] != "get_weather":
            return self._problem(asked) or "the tool was not called"
        made = caller.called(asked.calls, [RESULT] * len(asked.calls))
        heard = await caller.says(said, *made, model=self.model, tools=tools)
        if self.exact and "cloudless" not in heard.text:
            return f"said {heard.text!r} without the result"
        return self._problem(heard)

    async def _server_tool(self) -> str | None:
        said = self.user('Use the calculator for "19.99 * 3".', CALM)
        heard = await self.caller.says(said, model=self.model, tools=[{"type": "sonant", "name": "calculator"}])
        return self._problem(heard) or (None if "59.97" in heard.text else f"said {heard.text!r} without the result")

    def _doubled(self, number: int) -> Turn:
        async def turn() -> str | None:
            twice = self.user(f"Say: once {number}", ODD)
            before = len(self.caller.history)
            heard = await self.caller.says(twice, twice, model=self.model)
            del self.caller.history[before]
            return self._problem(heard, f"once {number}")

        return turn

    def _spoken_over(self, number: int) -> Turn:
        async def turn() -> str | None:
            text = f"Say: spoken over {number} {self.caller.session}. {STORY}"
            self.unheard.append(text)
            async with self.caller.opened(self.user(text, CALM), model=self.slow) as response:
                listening = asyncio.create_task(self.caller.listens(response))
                if self.begun is not None:
                    await self.begun(text)
                receipts = await self.caller.interrupts("")
                heard = await listening
            return _stop_problem(heard, receipts)

        return turn

    def _cut_off(self, number: int, *, tells: bool) -> Turn:
        async def turn() -> str | None:
            said = self.user(f"Say: cut off {number}. {STORY}", CALM)
            async with self.caller.opened(said, model=self.slow) as response:
                heard = await self.caller.listens(response, HEARD_CHARACTERS)
                # Whole words of it had been played by then.
                played = heard.text.rpartition(" ")[0]
                receipts = await self.caller.interrupts(played if tells else None)
            self.caller.history += [said, self.caller.assistant(played)]
            return _stop_problem(heard, receipts)

        return turn

    def _outgrown(self, number: int) -> Turn:
        async def turn() -> str | None:
            caller, begun = self.caller, f"Say: whole {number} {self.caller.session}. {STORY}"
            self.unheard.append(begun)
            async with caller.opened(self.user(begun, CALM), model=self.slow) as response:
                early = asyncio.create_task(caller.listens(response))
                if self.begun is not None:
                    await self.begun(begun)
                if not caller.newest_wins:
                    await caller.interrupts("")
                late = await caller.says(self.user(f"{begun} The end.", EXCITED), model=self.model)
                if (await early).done:
                    return "the answer to the beginning was not stopped"
            return self._problem(late, f"{begun} The end.".removeprefix("Say: "))

        return turn

    async def _silence(self) -> str | None:
        before = len(self.caller.history)
        heard = await self.caller.says(self.user("  ", None), model=self.model)
        del self.caller.history[before]
        return self._problem(heard)

    async def _spoke_last(self) -> str | None:
        heard = await self.caller.says(model=self.model)
        return self._problem(heard)

    async def _remembers(self) -> str | None:
        """The history that the server keeps holds what was spoken, in its order, and nothing else."""
        problem = await self._says("what is known", CALM)()
        if problem is not None:
            return problem
        found = await self.caller.remembered()
        if not found:
            return "nothing is remembered"
        spoken = [text for message in found["messages"] if (text := _spoken(message))]
        said = [text for message in self.caller.history if (text := _spoken(message))]
        if spoken[-len(said) :] != said and spoken != said:
            return f"remembers {spoken} and not {said}"
        for turn in found["turns"]:
            asked = str(turn["messages"][-1].get("content")) if turn["messages"] else ""
            if turn["spoken"] and any(asked.endswith(text) for text in self.unheard):
                return f"remembers {turn['spoken']!r} of what nobody heard"
        return None


def _stop_problem(heard: Heard, receipts: list[JsonObject]) -> str | None:
    if heard.status != 200:
        return f"status {heard.status}: {heard.events}"
    if not receipts:
        return "the answer was over before it was spoken over: name a slower model"
    [receipt] = receipts
    if receipt["reason"] != "user_interruption" or receipt["delivered_tokens"] > receipt["generated_tokens"]:
        return f"the receipt says {receipt}"
    return "the answer came to its end" if heard.done else None


def _spoken(message: JsonObject) -> str:
    """What the assistant says in a message, "" in any other."""
    content = message.get("content") if message.get("role") == "assistant" else None
    return content.strip() if isinstance(content, str) else ""
