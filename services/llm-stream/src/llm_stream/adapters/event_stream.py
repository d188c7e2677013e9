"""An SSE body cut into its payloads, as the WHATWG describes the format."""

import orjson

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
DONE = b"[DONE]"


class EventLines:
    """Cuts an SSE body into the data of its events, however it was cut into packets.

    Lines end in CR, LF or both. Several data lines of one event are joined, unless the first is a payload by itself.
    Comments and other fields are skipped, and events without data.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._begun = False
        self._after_cr = False
        self._between = True  # two events, with nothing of either in hand; the beginning is such a place

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the events that end in `data`."""
        if self._between and data.startswith(b"data:"):
            # Nearly every packet: whole events of one line.
            whole = data.replace(b"\r\n", b"\n") if data.endswith(b"\r\n") else data
            if whole.endswith(b"\n\n") and b"\r" not in whole:
                self._begun = True
                if whole.find(b"\n") == len(whole) - 2:
                    payload = whole[5:].strip()
                    return [payload] if payload else []
                events = whole[5:-2].split(b"\n\ndata:")
                if whole.count(b"\n") == 2 * len(events):
                    return [payload for event in events if (payload := event.strip())]
        return self._feed_lines(data)

    def _feed_lines(self, data: bytes) -> list[bytes]:
        if not self._begun:
            data = self._begin(data)
        if self._after_cr or b"\r" in data:
            data = self._with_one_line_end(data)
        lines: list[bytes] = []
        if b"\n" in data:
            first, *more = data.split(b"\n")
            lines = [bytes(self._rest + first) if self._rest else first, *more[:-1]]
            self._rest = bytearray(more[-1])
        else:
            # A line of many packets is put together once, however small they are.
            self._rest += data
        payloads = [payload for line in lines for payload in self._take(line)]
        self._between = self._begun and not (self._rest or self._data or self._after_cr)
        return payloads

    def end(self) -> list[bytes]:
        """The payloads of a last event that no empty line follows."""
        rest, self._rest = bytes(self._rest), bytearray()
        return [*self._take(rest), *self._take(b"")]

    def _begin(self, data: bytes) -> bytes:
        """The data without a byte order mark at the beginning of the stream."""
        data, self._rest = bytes(self._rest) + data, bytearray()
        if len(data) < len(BYTE_ORDER_MARK) and BYTE_ORDER_MARK.startswith(data):
            self._rest += data
            return b""
        self._begun = True
        return data.removeprefix(BYTE_ORDER_MARK)

    def _with_one_line_end(self, data: bytes) -> bytes:
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data.endswith(b"\r"):
            self._after_cr = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _take(self, line: bytes) -> list[bytes]:
        """The payloads that a line makes whole: by itself, or, being empty, those of the event that it ends."""
        if not line:
            data, self._data = b"\n".join(self._data).strip(), []
            return [data] if data else []
        name, _, value = line.partition(b":")
        if name != b"data":
            return []
        if not self._data and _is_whole(payload := value.strip()):
            # Nothing that could follow belongs to it, so that nobody waits for the empty line; some servers send none.
            return [payload]
        self._data.append(value.removeprefix(b" "))
        return []


def _is_whole(line: bytes) -> bool:
    if line == DONE:
        return True
    if not (line.startswith(b"{") and line.endswith(b"}")):
        return False
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True
