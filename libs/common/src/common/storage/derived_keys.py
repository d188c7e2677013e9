"""What the live store keeps of what the database says, by the beginning of its keys.

It is true of one history of the database. When that was restored, all of it is dropped.
"""

# Active sets and versions of resources.
RESOURCES = "sonant:resources:"
# Answers to writes, given again for the same `Idempotency-Key`, and how much of them an API key has.
IDEMPOTENT_ANSWERS = "sonant:idempotency:"
IDEMPOTENT_KEPT = "sonant:idempotency-kept:"

DERIVED = (RESOURCES, IDEMPOTENT_ANSWERS, IDEMPOTENT_KEPT)
