"""What a file is, by its first bytes: what its sender said and how it is called count for nothing."""

import filetype

OTHER = "application/octet-stream"
# Names of the library that are not the registered ones.
REGISTERED = {
    "audio/x-wav": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/x-aiff": "audio/aiff",
    "audio/m4a": "audio/mp4",
    "video/x-m4v": "video/mp4",
    "video/x-msvideo": "video/avi",
    "image/x-icon": "image/vnd.microsoft.icon",
}


def content_type(head: bytes) -> str:
    """The media type of a file that begins so, `application/octet-stream` where that says nothing."""
    kind = filetype.guess(head) if head else None
    return REGISTERED.get(kind.mime, kind.mime) if kind is not None else OTHER
