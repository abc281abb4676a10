// @langchain/openai: text, stream and a tool over chat completions and responses; embeddings with an embedding model.
import assert from "node:assert/strict";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";

const { ADDRESS, KEY, MODEL, KIND } = process.env;
const asked = { model: MODEL, apiKey: KEY, maxRetries: 0, configuration: { baseURL: `${ADDRESS}/v1` } };
const question = "Is it raining in Oslo?";
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tool = { type: "function", function: { name: "get_weather", description: "The weather in a city.", parameters } };

async function chat(useResponsesApi) {
  const model = new ChatOpenAI({ ...asked, useResponsesApi });
  assert((await model.invoke(question)).text);
  let streamed = "";
  for await (const piece of await model.stream(question)) streamed += piece.text;
  assert(streamed);
  const [call] = (await model.bindTools([tool]).invoke(question)).tool_calls;
  assert.deepEqual(call.args, { city: "Oslo" });
}

async function embed() {
  const client = new OpenAIEmbeddings(asked);
  assert.equal((await client.embedDocuments(["rain", "sun"])).length, 2);
  assert((await client.embedQuery("rain")).length);
}

if (KIND === "embeddings") await embed();
else for (const responses of [false, true]) await chat(responses);
