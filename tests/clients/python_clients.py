"""Clients that need packages of their own: each function is one client, called by its name in an environment that has it.

Every one asks a question that the scripted model answers, and runs a tool or reads an object where the client does such.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

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


def agno() -> None:
    from agno.agent import Agent
    from agno.models.openai import OpenAILike, OpenAIResponses

    for kind in (OpenAILike, OpenAIResponses):
        model = kind(id=MODEL, base_url=f"{ADDRESS}/v1", api_key=KEY)
        run = Agent(model=model, tools=[get_weather], telemetry=False).run(QUESTION)
        assert run.content and run.tools[0].result == "rain"


def autogen() -> None:
    from autogen_agentchat.agents import AssistantAgent
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    known = {"vision": False, "function_calling": True, "json_output": True, "structured_output": True}
    model = OpenAIChatCompletionClient(
        model=MODEL, base_url=f"{ADDRESS}/v1", api_key=KEY, model_info={**known, "family": "unknown"}
    )
    agent = AssistantAgent("weather", model, tools=[get_weather], reflect_on_tool_use=True, model_client_stream=True)
    assert asyncio.run(agent.run(task=QUESTION)).messages[-1].content


def strands() -> None:
    from strands import Agent, tool
    from strands.models.openai import OpenAIModel

    model = OpenAIModel(client_args={"base_url": f"{ADDRESS}/v1", "api_key": KEY}, model_id=MODEL)
    result = Agent(model=model, tools=[tool(get_weather)], callback_handler=None)(QUESTION)
    assert result.stop_reason == "end_turn" and str(result).strip()


def llm() -> None:
    home = Path.cwd() / "llm"
    home.mkdir()
    # Without `api_key_name` it sends no key to another address than OpenAI's, whatever `--key` says.
    facts = {"model_id": "aichat", "model_name": MODEL, "api_base": f"{ADDRESS}/v1", "supports_tools": True}
    facts["api_key_name"] = "aichat"
    (home / "extra-openai-models.yaml").write_text(json.dumps([facts]))  # JSON is YAML
    command = [program("llm"), "-m", "aichat", "--key", KEY]
    environment = {**os.environ, "LLM_USER_PATH": str(home)}
    tool = ["--functions", 'def get_weather(city: str) -> str:\n    "The weather in a city."\n    return "rain"']
    for options in ([], ["--no-stream"], tool):
        assert printed([*command, *options, QUESTION], environment)


def shell_gpt() -> None:
    environment = {**os.environ, "API_BASE_URL": f"{ADDRESS}/v1", "OPENAI_API_KEY": KEY, "DEFAULT_MODEL": MODEL}
    assert printed([program("sgpt"), "--no-cache", QUESTION], environment)


def mem0() -> None:
    from mem0.configs.embeddings.base import BaseEmbedderConfig
    from mem0.embeddings.openai import OpenAIEmbedding

    client = OpenAIEmbedding(BaseEmbedderConfig(model=MODEL, openai_base_url=f"{ADDRESS}/v1", api_key=KEY))
    assert client.embed("rain", "add") and client.embed("rain", "search")


def langchain_embeddings() -> None:
    from langchain_openai import OpenAIEmbeddings

    # By default it cuts texts into tokens, for which it downloads a vocabulary: a test has no Internet.
    options = {"check_embedding_ctx_length": False, "max_retries": 0}
    client = OpenAIEmbeddings(base_url=f"{ADDRESS}/v1", api_key=KEY, model=MODEL, **options)
    assert len(client.embed_documents(["rain", "sun"])) == 2 and client.embed_query("rain")


def llama_index_embeddings() -> None:
    from llama_index.embeddings.openai import OpenAIEmbedding

    client = OpenAIEmbedding(model_name=MODEL, api_base=f"{ADDRESS}/v1", api_key=KEY, max_retries=0)
    assert len(client.get_text_embedding_batch(["rain", "sun"])) == 2 and client.get_query_embedding("rain")


def litellm_embeddings() -> None:
    import litellm as client

    found = client.embedding(f"openai/{MODEL}", ["rain", "sun"], api_base=f"{ADDRESS}/v1", api_key=KEY)
    assert len(found.data) == 2


def haystack_embeddings() -> None:
    from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
    from haystack.dataclasses import Document
    from haystack.utils import Secret

    asked = {"model": MODEL, "api_base_url": f"{ADDRESS}/v1", "api_key": Secret.from_token(KEY)}
    assert OpenAITextEmbedder(**asked).run("rain")["embedding"]
    found = OpenAIDocumentEmbedder(**asked, progress_bar=False).run([Document(content="rain"), Document(content="sun")])
    assert all(document.embedding for document in found["documents"])


def program(name: str) -> str:
    """The command of this environment."""
    return str(Path(sys.executable).parent / name)


def printed(command: list[str], environment: dict[str, str]) -> str:
    """What a command prints; it must end well."""
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
