"""What the stand-in says: a deterministic answer drawn from the conversation itself."""

import ast
import hashlib
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from sandbox.openai.conversation import Conversation
from sandbox.openai.text import STOPWORDS, keywords, sentences, words

Rule = Callable[[Conversation, int], str | None]

_GREETING = re.compile(r"\W*(hi|hello|hey|good (morning|afternoon|evening)|greetings)\b", re.I)
_THANKS = re.compile(r"\b(thanks|thank you|cheers)\b", re.I)
_FAREWELL = re.compile(r"\b(bye|goodbye|see you|good night)\b", re.I)
_NAME = re.compile(
    r"\b(?i:my name is|my name's|i am called|i'm called)\s+([^\W\d_][\w'\u2019-]*)"
    r"|\b(?i:call me)\s+([A-Z][\w'\u2019-]*)"
)
_NAME_AFTER_I_AM = re.compile(r"\b(?:I am|I'm|i am|i'm)\s+([A-Z][\w'\u2019-]*)")
_NAME_QUESTION = re.compile(r"\b(what('s| is) my name|who am i|remember my name|know my name)\b", re.I)
# What others have put before the words of a user, in brackets and with an empty line behind, is none of them.
_ECHO = re.compile(r"(?:\s*\([^\n]*\)\n\n)*\s*(?:please\s+)?(?:say|repeat(?: after me)?)\s*:\s*(.+)", re.I | re.S)
_COUNT = re.compile(r"\bcount (?:from (\d{1,4}) )?(?:up )?to (\d{1,4})\b", re.I)
# Short, so that evaluating it cannot recurse deeply.
_EXPRESSION = re.compile(r"-?[(\d][\d\s.()+\-*/%]{0,120}[\d)]")
_OPERATION = re.compile(r"\d\s*\)?\s*[+\-*/%]\s*\(?\s*-?\d")
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}")
# "what is 24/7 support" and "call 555-1234" are no sums: one goes on, the other asks nothing.
_SUM_OPENING = re.compile(r"(.*\b(what's|what is|calculate|compute|how much is|solve|and|then)\b)?\W*", re.S)
_SUM_ENDING = re.compile(r"\s*(please)?[\s=?.!]*")
_INSTRUCTION = re.compile(
    r"\W*(you are|you're|you must|you should|answer|use|do not|don't|never|always|if|reply|respond|be |keep|"
    r"speak|cite|continue|the user|context|documents?:|facts?:|knowledge:)",
    re.I,
)
_PERSON = {
    "i": "you",
    "i'm": "you're",
    "my": "your",
    "mine": "yours",
    "me": "you",
    "am": "are",
    "myself": "yourself",
    "i've": "you've",
    "i'll": "you'll",
}
_SPOKEN_OPERATORS = (
    ("multiplied by", "*"),
    ("divided by", "/"),
    ("times", "*"),
    ("plus", "+"),
    ("minus", "-"),
    ("over", "/"),
    ("\u00d7", "*"),
    ("\u00f7", "/"),
)
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
# A question shares at least this part of its keywords with a sentence that answers it.
_MIN_OVERLAP = 0.3
_MAX_MATCHES = 3
# A longer message that gives a name also wants something else.
_MAX_INTRODUCTION_WORDS = 8
# A longer message is more than a greeting, thanks or a farewell.
_MAX_COURTESY_WORDS = 5
_FALLBACKS = (
    "You said “{quote}”, and I am following along. {about} If you give me a little more detail, "
    "I can answer more exactly.",
    "I hear you: “{quote}”. {about} What would you like to know first?",
    "Thank you for telling me “{quote}”. {about} Shall we go through it step by step?",
)
_FILLER = (
    "Let me add a little more on that.",
    "There are several ways to look at it.",
    "Each of them has its merits.",
    "We can take them one at a time.",
    "Just say when you have heard enough.",
)


def answer(conversation: Conversation, seed: int) -> str:
    """Return the whole answer; the same conversation and seed always give the same text."""
    for rule in RULES:
        text = rule(conversation, seed)
        if text is not None:
            return text
    return _refer_back(conversation, seed)


def remainder(whole: str, prefix: str | None) -> str:
    """Return what follows `prefix` in the answer, or a fresh run-up where the prefix is not its beginning."""
    if prefix is None:
        return whole
    if whole.startswith(prefix):
        return whole[len(prefix) :]
    return f" In short: {whole}"


def filler(start: int) -> Iterator[str]:
    """Yield sentences without end, to lengthen an answer."""
    while True:
        yield " " + _FILLER[start % len(_FILLER)]
        start += 1


def pick(options: tuple[str, ...], key: str, seed: int) -> str:
    """Choose one option by a stable hash."""
    digest = hashlib.blake2b(f"{seed}\x1f{key}".encode(), digest_size=4).digest()
    return options[int.from_bytes(digest, "big") % len(options)]


def known_name(conversation: Conversation) -> str | None:
    """Return the name the user last gave."""
    for text in reversed(conversation.users):
        match = _NAME.search(text) or _NAME_AFTER_I_AM.search(text)
        if match:
            name = match[match.lastindex or 0]
            return name[0].upper() + name[1:]
    return None


def _from_tools(conversation: Conversation, seed: int) -> str | None:
    if conversation.last_role != "tool":
        return None
    results = [f"{name.replace('_', ' ')}: {_plain(text)}" for name, text in conversation.tool_results]
    opening = pick(("Here is what I found", "I looked that up", "This is the result"), conversation.key, seed)
    return f"{opening}. " + " ".join(each if each.endswith((".", "!", "?")) else each + "." for each in results)


def _plain(text: str) -> str:
    """Say JSON in words; other text stays as it is."""
    try:
        return _spoken(orjson.loads(text))
    except orjson.JSONDecodeError:
        return text.strip() or "no result"


def _spoken(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_spoken(each)}" for name, each in value.items())
    if isinstance(value, list):
        return "; ".join(_spoken(each) for each in value) or "nothing"
    if value is None:
        return "unknown"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _echo(conversation: Conversation, seed: int) -> str | None:
    match = _ECHO.fullmatch(conversation.last)
    return match[1] if match else None


def _count(conversation: Conversation, seed: int) -> str | None:
    match = _COUNT.search(conversation.last)
    if match is None:
        return None
    return ", ".join(str(number) for number in range(int(match[1] or 1), int(match[2]) + 1)) + "."


def _own_name(conversation: Conversation, seed: int) -> str | None:
    name = known_name(conversation)
    if _NAME_QUESTION.search(conversation.last):
        return f"Your name is {name}." if name else "You have not told me your name yet. What shall I call you?"
    introduced = _NAME.search(conversation.last) and len(words(conversation.last)) <= _MAX_INTRODUCTION_WORDS
    if name and introduced and not _asks(conversation):
        return f"Nice to meet you, {name}. How can I help you today?"
    return None


def _courtesy(conversation: Conversation, seed: int) -> str | None:
    last = conversation.last
    if len(words(last)) > _MAX_COURTESY_WORDS:
        return None
    name = known_name(conversation)
    address = f", {name}" if name else ""
    if _GREETING.match(last):
        offers = ("How can I help you today?", "What can I do for you?", "What would you like to talk about?")
        return f"Hello{address}! {pick(offers, conversation.key, seed)}"
    if _THANKS.search(last):
        return f"You're welcome{address}. Is there anything else I can help with?"
    return f"Goodbye{address}. It was good talking with you." if _FAREWELL.search(last) else None


def _arithmetic(conversation: Conversation, seed: int) -> str | None:
    text = conversation.last.lower()
    for spoken, sign in _SPOKEN_OPERATORS:
        text = text.replace(spoken, sign)
    text = re.sub(r"(?<=\d)\s*x\s*(?=\d)", "*", text)
    match = _EXPRESSION.search(text)
    if match is None or not _is_sum(text, match):
        return None
    try:
        result = _evaluate(ast.parse(match[0].strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, ValueError, OverflowError):
        return None
    return f"{match[0].strip()} is {result:.10g}."


def _is_sum(text: str, match: re.Match[str]) -> bool:
    framed = _SUM_OPENING.fullmatch(text[: match.start()]) and _SUM_ENDING.fullmatch(text[match.end() :])
    return bool(framed and _OPERATION.search(match[0]) and not _DATE.fullmatch(match[0]))


def _evaluate(node: ast.AST) -> float:
    """Work out numbers and the four operations; anything else is a ValueError."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return float(_OPERATORS[type(node.op)](_evaluate(node.left), _evaluate(node.right)))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return float(_OPERATORS[type(node.op)](_evaluate(node.operand)))
    raise ValueError("not simple arithmetic")


def _from_context(conversation: Conversation, seed: int) -> str | None:
    """Answer with the sentences of the documents, or of what the user said before, that share its words."""
    subject = keywords(_question(conversation.last))
    if not subject:
        return None
    supplied = [s for text in conversation.instructions for s in sentences(text) if not _INSTRUCTION.match(s)]
    inline = [s for s in sentences(conversation.last) if not s.endswith("?")] if _asks(conversation) else []
    found = _best(subject, supplied + inline)
    if found:
        return " ".join(s if s.endswith((".", "!", "?")) else s + "." for s in found)
    earlier = _best(subject, [s for text in conversation.users[:-1] for s in sentences(text) if not s.endswith("?")])
    return f"You told me that {_turned(earlier[0])}." if earlier and _asks(conversation) else None


def _asks(conversation: Conversation) -> bool:
    return "?" in conversation.last


def _question(text: str) -> str:
    """Return the sentence that asks, where a message holds more than that."""
    questions = [sentence for sentence in sentences(text) if sentence.endswith("?")]
    return questions[-1] if questions else text


def _best(subject: set[str], candidates: list[str]) -> list[str]:
    scored = [(len(subject & keywords(each)) / len(subject), -index) for index, each in enumerate(candidates)]
    top = max(scored, default=(0.0, 0))[0]
    if top < _MIN_OVERLAP:
        return []
    chosen = sorted(-index for score, index in scored if score >= top * 0.75)
    return [candidates[index] for index in chosen[:_MAX_MATCHES]]


def _turned(sentence: str) -> str:
    """Turn the first person into the second."""
    return re.sub(r"[\w'\u2019]+", lambda m: _PERSON.get(m[0].lower(), m[0]), sentence).rstrip(".!")


def _refer_back(conversation: Conversation, seed: int) -> str:
    text = " ".join(conversation.last.split()) or "nothing yet"
    short = text if len(text) <= 80 else text[:79].rsplit(" ", 1)[0] + "…"
    topics = [w for w in dict.fromkeys(words(text)) if w not in STOPWORDS and len(w) > 3][:3]
    about = f"It sounds as if this is about {' and '.join(topics)}." if topics else "Tell me more about it."
    return pick(_FALLBACKS, conversation.key, seed).format(quote=short, about=about)


RULES: tuple[Rule, ...] = (
    _from_tools,
    _echo,
    _count,
    _own_name,
    _courtesy,
    _arithmetic,
    _from_context,
)
