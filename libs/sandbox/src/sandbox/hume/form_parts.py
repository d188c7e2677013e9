"""The parts of a form, as clients of the provider send them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BOUNDARY = re.compile(r'boundary="?([^";,]+)"?', re.IGNORECASE)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class FormPart:
    """One part: its name, the name of its file (None for a field), and its bytes."""

    name: str
    filename: str | None
    data: bytes


def form_parts(content_type: str, raw: bytes) -> list[FormPart]:
    """The parts in their order; raises ValueError for what is no form."""
    boundary = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/form-data") or boundary is None:
        raise ValueError("the body is no form")
    return list(_parts(b"--" + boundary[1].encode(), raw))


def _parts(delimiter: bytes, raw: bytes) -> Iterator[FormPart]:
    at = raw.find(delimiter)
    while at >= 0:
        begin = at + len(delimiter)
        at = raw.find(b"\r\n" + delimiter, begin)
        if raw[begin : begin + 2] == b"--" or at < 0:
            return
        head, separator, _ = raw[begin : min(begin + 8192, at)].partition(b"\r\n\r\n")
        if not separator:
            raise ValueError("a part has no head")
        said = dict(_PARAMETER.findall(head.decode("utf-8", "replace")))
        yield FormPart(said.get("name", ""), said.get("filename"), raw[begin + len(head) + 4 : at])
        at += 2
