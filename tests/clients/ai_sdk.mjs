// Vercel's AI SDK with a provider's default model: text, a stream, a tool in two steps, an object.
import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const options = { baseURL: `${process.env.ADDRESS}/v1`, apiKey: process.env.KEY };
const create = { openai: createOpenAI, anthropic: createAnthropic }[process.env.PROVIDER];
const model = create(options)(process.env.MODEL);
const prompt = "Is it raining in Oslo?";

assert.ok((await generateText({ model, prompt, maxRetries: 0 })).text);

const stream = streamText({ model, prompt, maxRetries: 0, onError: ({ error }) => { throw error; } });
let text = "";
for await (const piece of stream.textStream) text += piece;
assert.ok(text);
assert.ok((await stream.usage).outputTokens > 0);

const tools = {
  get_weather: tool({
    description: "The weather in a city",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `rain in ${city}`,
  }),
};
const steps = await generateText({ model, prompt, tools, stopWhen: stepCountIs(3), maxRetries: 0 });
assert.equal(steps.steps.length, 2);
assert.ok(steps.text);

const streamed = streamText({ model, prompt, tools, stopWhen: stepCountIs(3), maxRetries: 0, onError: ({ error }) => { throw error; } });
assert.ok(await streamed.text);
assert.equal((await streamed.steps).length, 2);

const schema = z.object({ city: z.string(), rain: z.boolean() });
const object = await generateText({ model, prompt, output: Output.object({ schema }), maxRetries: 0 });
assert.deepEqual(object.output, { city: "Oslo", rain: true });
