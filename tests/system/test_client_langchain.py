"""LangChain's OpenAI integration, unmodified, works against the gateway."""

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.support.clients import new_key
from tests.support.sonant import Sonant


@tool
def get_weather(city: str) -> str:
    """The weather of a city"""
    return f"A cloudless sky over {city}"


@pytest.fixture(scope="module")
def llm(sonant: Sonant) -> ChatOpenAI:
    return ChatOpenAI(model="default", base_url=f"{sonant.url}/v1", api_key=SecretStr(new_key(sonant).text))


async def gathered(llm: ChatOpenAI, text: str) -> AIMessageChunk:
    """The sum of a stream's chunks."""
    whole: AIMessageChunk | None = None
    async for chunk in llm.astream(text):
        assert isinstance(chunk, AIMessageChunk)
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    return whole


def test_invoke(llm: ChatOpenAI) -> None:
    answer = llm.invoke("Say: hello chain")
    assert answer.content == "hello chain"
    assert answer.response_metadata["finish_reason"] == "stop"
    assert isinstance(answer, AIMessage)
    assert answer.usage_metadata
    assert answer.usage_metadata["total_tokens"] > 0


async def test_astream(llm: ChatOpenAI) -> None:
    whole = await gathered(llm, "Say: hello stream")
    assert whole.content == "hello stream"
    assert whole.response_metadata["finish_reason"] == "stop"


async def test_astream_with_usage(llm: ChatOpenAI) -> None:
    whole = await gathered(llm.model_copy(update={"stream_usage": True}), "Say: hello usage")
    assert whole.content == "hello usage"
    assert whole.usage_metadata
    assert whole.usage_metadata["output_tokens"] > 0


async def test_bound_tools(llm: ChatOpenAI) -> None:
    question = HumanMessage("What is the weather in Lisbon?")
    bound = llm.bind_tools([get_weather])
    asked = await bound.ainvoke([question])
    (call,) = asked.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Lisbon"})
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    answer = await bound.ainvoke([question, asked, result])
    assert "cloudless sky over Lisbon" in str(answer.content)


async def test_bound_tools_streamed(llm: ChatOpenAI) -> None:
    whole: AIMessageChunk | None = None
    async for chunk in llm.bind_tools([get_weather]).astream("What is the weather in Porto?"):
        assert isinstance(chunk, AIMessageChunk)
        whole = chunk if whole is None else whole + chunk
    assert whole
    (call,) = whole.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Porto"})


@pytest.mark.parametrize("model", ["default", "twice"])
async def test_logprobs_streamed(llm: ChatOpenAI, model: str) -> None:
    """With two upstreams text is held back to the end of its sentence, and they with it."""
    told = llm.model_copy(update={"model_name": model, "logprobs": True})
    text = "One is here. Two is, and no more"
    whole = await gathered(told, f"Say: {text}")
    assert whole.content == text
    assert "".join(each["token"] for each in whole.response_metadata["logprobs"]["content"]) == text


@pytest.mark.parametrize("model", ["thinking", "thinking-twice"])
async def test_text_and_tool_calls_come_in_order(llm: ChatOpenAI, model: str) -> None:
    whole: AIMessageChunk | None = None
    order: list[str] = []
    bound = llm.model_copy(update={"model_name": model}).bind_tools([get_weather])
    async for chunk in bound.astream("What is the weather in Porto?"):
        assert isinstance(chunk, AIMessageChunk)
        kind = "tools" if chunk.tool_call_chunks else "text" if chunk.content else ""
        order += [kind] if kind and order[-1:] != [kind] else []
        whole = chunk if whole is None else whole + chunk
    assert order == ["text", "tools"]
    assert whole
    assert whole.content == "Let me look that up. One moment"
    (call,) = whole.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Porto"})
    assert call["id"]
    assert whole.response_metadata["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("model", ["declining", "declining-twice"])
async def test_a_refusal_of_the_models_own(llm: ChatOpenAI, model: str) -> None:
    declining = llm.model_copy(update={"model_name": model})
    answer = await declining.ainvoke("Say: I will not. Ask me another")
    assert answer.additional_kwargs["refusal"] == "I will not. Ask me another"
    assert answer.content == ""
    streamed = await gathered(declining, "Say: I will not. Ask me another")
    assert streamed.content == ""
    assert streamed.response_metadata["finish_reason"] == "stop"
