"""The topics of the service media."""

from common.events.spec import Topic

MEDIA_COMMANDS = Topic("media-commands")
MEDIA_QUERIES = Topic("media-queries")
MEDIA_EVENTS = Topic("media-events")
