// The official client: a message, a stream, the tool runner, a count of tokens.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { z } from "zod";

const model = process.env.MODEL;
const client = new Anthropic({ baseURL: process.env.ADDRESS, apiKey: process.env.KEY, maxRetries: 0 });
const messages = [{ role: "user", content: "Is it raining in Oslo?" }];

const whole = await client.messages.create({ model, max_tokens: 1000, messages });
assert.equal(whole.stop_reason, "end_turn");
assert.ok(whole.content[0].text);

const stream = client.messages.stream({ model, max_tokens: 1000, messages });
assert.ok((await stream.finalMessage()).content[0].text);

let asked = 0;
const weather = betaZodTool({
  name: "get_weather",
  description: "The weather in a city",
  inputSchema: z.object({ city: z.string() }),
  run: async ({ city }) => {
    asked += 1;
    return `rain in ${city}`;
  },
});
const final = await client.beta.messages.toolRunner({ model, max_tokens: 1000, messages, tools: [weather] });
assert.equal(asked, 1);
assert.ok(final.content.some((block) => block.type === "text"));

assert.ok((await client.messages.countTokens({ model, messages })).input_tokens > 0);
