"""The routes of conversations, as OpenAI has them."""

from collections.abc import Sequence

from gateway.chat import conversations
from gateway.http.routing import Route
from gateway.ports import Scope, Work

CONVERSATIONS = "/v1/conversations"
CONVERSATION = f"{CONVERSATIONS}/{{conversation_id}}"

CONVERSATION_ROUTES: Sequence[Route] = [
    Route(
        "POST",
        CONVERSATIONS,
        conversations.create_conversation,
        "Begin a conversation",
        scope=Scope.CHAT,
        work=Work.WRITE,
        request=conversations.ConversationBody,
        response=conversations.Conversation,
        errors=(413, 503, 504),
        tags=("conversations",),
    ),
    Route(
        "GET",
        CONVERSATION,
        conversations.show_conversation,
        "Read what is noted of a conversation",
        name="get_conversation",
        scope=Scope.CHAT,
        work=Work.READ,
        response=conversations.Conversation,
        errors=(400, 404, 503, 504),
        tags=("conversations",),
    ),
    Route(
        "POST",
        CONVERSATION,
        conversations.change_conversation,
        "Change what is noted of a conversation",
        name="update_conversation",
        scope=Scope.CHAT,
        work=Work.WRITE,
        request=conversations.MetadataBody,
        response=conversations.Conversation,
        errors=(404, 413, 503, 504),
        tags=("conversations",),
    ),
    Route(
        "DELETE",
        CONVERSATION,
        conversations.delete_conversation,
        "Forget a conversation",
        scope=Scope.CHAT,
        work=Work.WRITE,
        response=conversations.DeletedConversation,
        errors=(400, 503, 504),
        tags=("conversations",),
    ),
    Route(
        "GET",
        f"{CONVERSATION}/items",
        conversations.list_items,
        "List the items of a conversation, the newest first",
        scope=Scope.CHAT,
        work=Work.READ,
        query=conversations.ItemsQuery,
        response=conversations.ItemList,
        errors=(404, 503, 504),
        tags=("conversations",),
    ),
    Route(
        "POST",
        f"{CONVERSATION}/items",
        conversations.add_items,
        "Add items to a conversation without asking for an answer",
        scope=Scope.CHAT,
        work=Work.WRITE,
        request=conversations.ItemsBody,
        response=conversations.ItemList,
        errors=(404, 413, 503, 504),
        tags=("conversations",),
    ),
    Route(
        "GET",
        f"{CONVERSATION}/items/{{item_id}}",
        conversations.show_item,
        "Read an item of a conversation",
        scope=Scope.CHAT,
        work=Work.READ,
        response=conversations.ConversationItem,
        errors=(400, 404, 503, 504),
        tags=("conversations",),
    ),
]
