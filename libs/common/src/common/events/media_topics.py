"""The topics of media: work that is asked for, questions about it, and what became of it."""

from common.events.spec import Topic

MEDIA_COMMANDS = Topic("media-commands")
MEDIA_QUERIES = Topic("media-queries")
MEDIA_EVENTS = Topic("media-events")
