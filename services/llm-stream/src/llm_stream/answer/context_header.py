"""The header of an answer that says what of its conversation the model was asked with."""

from common.events.chat import ContextUse

HEADER = "x-sonant-context"


def context_header(context: ContextUse) -> dict[str, str]:
    """The counts as a dictionary of structured fields (RFC 9651): whole numbers under their names."""
    counts = {
        "tokens": context.tokens,
        "budget": context.budget_tokens,
        "estimated": context.estimated_tokens,
        "messages": context.messages_before,
        "cut": context.messages_cut,
    }
    if context.messages_summed_up:
        counts["summed_up"] = context.messages_summed_up
    return {HEADER: ", ".join(f"{name}={count}" for name, count in counts.items())}
