"""Captions as files and as packets of a film's subtitle stream."""

from collections.abc import Sequence

from common.events.creations import CaptionLine


def as_webvtt(lines: Sequence[CaptionLine]) -> str:
    """The captions as WebVTT (W3C)."""
    cues = [
        f"{number}\n{_moment(line.begin)} --> {_moment(line.end)}\n{_text(line)}\n" for number, line in _counted(lines)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def as_timed_text(text: str) -> bytes:
    """A sample of timed text (3GPP TS 26.245): the length of the text in two bytes, and the text."""
    data = text.encode()[:65_535]
    return len(data).to_bytes(2, "big") + data


def _counted(lines: Sequence[CaptionLine]) -> list[tuple[int, CaptionLine]]:
    return list(enumerate(lines, 1))


def _moment(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}"


def _text(line: CaptionLine) -> str:
    """The text in one line, with what WebVTT reads as marks escaped."""
    plain = " ".join(line.text.split())
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
