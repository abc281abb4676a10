// An agent in the SDK's default mode (Responses): a tool, structured output, and a streamed run.
import assert from "node:assert/strict";
import { Agent, run, setDefaultOpenAIClient, setTracingDisabled, tool } from "@openai/agents";
import OpenAI from "openai";
import { z } from "zod";

setTracingDisabled(true);
setDefaultOpenAIClient(new OpenAI({ baseURL: `${process.env.ADDRESS}/v1`, apiKey: process.env.KEY, maxRetries: 0 }));
const model = process.env.MODEL;
let asked = 0;
const weather = tool({
  name: "get_weather",
  description: "The weather in a city",
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    assert.equal(city, "Oslo");
    asked += 1;
    return "rain";
  },
});
const agent = new Agent({ name: "Weather", instructions: "Be brief.", model, tools: [weather] });
const result = await run(agent, "Is it raining in Oslo?");
assert.ok(result.finalOutput);
assert.equal(asked, 1);

const streamed = await run(agent, "Is it raining in Oslo?", { stream: true });
for await (const _ of streamed) {
  // every event is read
}
await streamed.completed;
assert.ok(streamed.finalOutput);
assert.equal(asked, 2);

const typed = new Agent({ name: "Typed", model, outputType: z.object({ city: z.string(), rain: z.boolean() }) });
assert.deepEqual((await run(typed, "Is it raining in Oslo?")).finalOutput, { city: "Oslo", rain: true });
