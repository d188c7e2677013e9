"""The three verdicts by which a handler steers the kernel; the exception type decides, never its text."""


class Retry(Exception):
    """Transient: the same record may work in a moment."""


class Park(Exception):
    """Can never work: set the record aside with its passport and go on."""


class Halt(Exception):
    """I am broken: stop consuming before more harm is done."""
