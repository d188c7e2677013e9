"""What is wrong with a file, in words for whoever sent it."""


class MediaError(Exception):
    """A file cannot be measured, by its own fault; `code` and `message` are for its sender.

    It travels between processes, so it is made of its arguments alone.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def unreadable(what: str) -> MediaError:
    """The file is damaged, or not what its first bytes say."""
    return MediaError("media_unreadable", f"The file cannot be read: {what}.")


def too_long(seconds: float) -> MediaError:
    """It plays for longer than is measured."""
    return MediaError("media_too_long", f"At most {seconds:g} seconds are measured.")
