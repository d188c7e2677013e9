"""How a text is to be spoken, in the words that providers take: an emotion with its intensity becomes a description."""

from common.events.speech import Emotion

# What providers take of it.
MAX_DESCRIPTION = 1_000
# Words that say more than the name of the emotion alone, by the name that callers use.
PHRASES = {
    "angry": "angry and sharp",
    "calm": "calm, even and unhurried",
    "cheerful": "cheerful and bright",
    "confident": "confident and firm",
    "dramatic": "dramatic, with strong contrasts",
    "empathetic": "warm and understanding",
    "energetic": "energetic and quick",
    "excited": "excited and lively",
    "fearful": "fearful and tense",
    "friendly": "friendly and warm",
    "happy": "happy and light",
    "inspiring": "inspiring and uplifting",
    "mysterious": "mysterious and hushed",
    "neutral": "neutral and professional",
    "professional": "professional and clear",
    "sad": "sad and subdued",
    "serious": "serious and measured",
    "soothing": "soothing and soft",
    "surprised": "surprised and wide awake",
    "urgent": "urgent and pressing",
    "warm": "warm and close",
    "whispering": "whispered, close to the microphone",
}
# From which intensity on which word stands before the phrase.
DEGREES = ((0.85, "extremely "), (0.65, "very "), (0.35, ""), (0.15, "slightly "), (0.0, "barely noticeably "))


def describe(emotion: Emotion | None, description: str) -> str:
    """The description that a provider is given; empty where nothing was said of the delivery."""
    parts = [_of(emotion)] if emotion is not None else []
    parts += [description.strip()] if description.strip() else []
    return ". ".join(parts)[:MAX_DESCRIPTION]


def _of(emotion: Emotion) -> str:
    name = emotion.name.strip().lower()
    degree = next(word for least, word in DEGREES if emotion.intensity >= least)
    return f"{degree}{PHRASES.get(name, name)}".capitalize()
