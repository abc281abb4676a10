"""Clients that need packages of their own: each function is one client, called by its name in an environment that has it.

Every one asks a question that the scripted model answers, and runs a tool or reads an object where the client does such.
"""

import asyncio
import os
import sys

ADDRESS, KEY, MODEL = os.environ["ADDRESS"], os.environ["KEY"], os.environ["MODEL"]
QUESTION = "Is it raining in Oslo?"


def get_weather(city: str) -> str:
    """The weather in a city."""
    assert city == "Oslo"
    return "rain"


def langchain_openai() -> None:
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    for responses in (False, True):
        model = ChatOpenAI(
            base_url=f"{ADDRESS}/v1", api_key=KEY, model=MODEL, use_responses_api=responses, max_retries=0
        )
        assert model.invoke(QUESTION).text
        assert list(model.stream(QUESTION))
        assert model.bind_tools([tool(get_weather)]).invoke(QUESTION).tool_calls[0]["args"] == {"city": "Oslo"}


def langchain_anthropic() -> None:
    from langchain_anthropic import ChatAnthropic
    from langchain_core.tools import tool

    model = ChatAnthropic(base_url=ADDRESS, api_key=KEY, model=MODEL, max_tokens=1000, max_retries=0)
    assert model.invoke(QUESTION).text
    assert list(model.stream(QUESTION))
    assert model.bind_tools([tool(get_weather)]).invoke(QUESTION).tool_calls[0]["args"] == {"city": "Oslo"}


def litellm() -> None:
    import litellm as client

    for name, base in ((f"openai/{MODEL}", f"{ADDRESS}/v1"), (f"anthropic/{MODEL}", ADDRESS)):
        asked = {"model": name, "api_base": base, "api_key": KEY, "messages": [{"role": "user", "content": QUESTION}]}
        assert client.completion(**asked).choices[0].message.content
        assert list(client.completion(**asked, stream=True))
    assert client.responses(model=f"openai/{MODEL}", api_base=f"{ADDRESS}/v1", api_key=KEY, input=QUESTION).output


def pydantic_ai() -> None:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    openai = OpenAIProvider(base_url=f"{ADDRESS}/v1", api_key=KEY)
    models = (OpenAIChatModel(MODEL, provider=openai), OpenAIResponsesModel(MODEL, provider=openai))

    async def all_models() -> None:
        for model in models:
            result = await Agent(model, tools=[get_weather]).run(QUESTION)
            assert result.output and len(result.new_messages()) == 4

    asyncio.run(all_models())


def instructor() -> None:
    import instructor as client
    import openai
    from pydantic import BaseModel

    class Weather(BaseModel):
        city: str
        rain: bool

    patched = client.from_openai(openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key=KEY), mode=client.Mode.JSON_SCHEMA)
    asked = {"model": MODEL, "response_model": Weather, "messages": [{"role": "user", "content": QUESTION}]}
    assert patched.chat.completions.create(**asked).model_dump() == {"city": "Oslo", "rain": True}


def llama_index() -> None:
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai import OpenAI, OpenAIResponses

    for kind in (OpenAI, OpenAIResponses):
        model = kind(model=MODEL, api_base=f"{ADDRESS}/v1", api_key=KEY, max_retries=0, context_window=100_000)
        assert model.chat([ChatMessage(role="user", content=QUESTION)]).message.content


def smolagents() -> None:
    from smolagents import OpenAIServerModel

    model = OpenAIServerModel(model_id=MODEL, api_base=f"{ADDRESS}/v1", api_key=KEY)
    assert model([{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]).content


def dspy() -> None:
    import dspy as client

    model = client.LM(f"openai/{MODEL}", api_base=f"{ADDRESS}/v1", api_key=KEY, cache=False)
    assert model(QUESTION)


def haystack() -> None:
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.dataclasses import ChatMessage
    from haystack.utils import Secret

    model = OpenAIChatGenerator(model=MODEL, api_base_url=f"{ADDRESS}/v1", api_key=Secret.from_token(KEY))
    assert model.run([ChatMessage.from_user(QUESTION)])["replies"][0].text


if __name__ == "__main__":
    globals()[sys.argv[1]]()
