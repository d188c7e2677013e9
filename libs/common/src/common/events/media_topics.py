"""The topics of media: jobs and assets travel on the same ones."""

from common.events.spec import Topic

MEDIA_COMMANDS = Topic("media-commands")
MEDIA_QUERIES = Topic("media-queries")
MEDIA_EVENTS = Topic("media-events")
