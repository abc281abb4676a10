// The official client: chat completions and responses, whole and streamed, with a tool.
import assert from "node:assert/strict";

// Another version of the package under a name of its own.
const { default: OpenAI } = await import(process.env.PACKAGE ?? "openai");

const model = process.env.MODEL;
const client = new OpenAI({ baseURL: `${process.env.ADDRESS}/v1`, apiKey: process.env.KEY, maxRetries: 0 });
const weather = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };

const chat = await client.chat.completions.create({ model, messages: [{ role: "user", content: "Hello" }] });
assert.ok(chat.choices[0].message.content);

const plain = await client.responses.create({ model, input: "Hello" });
assert.equal(plain.status, "completed");
assert.ok(plain.output_text);

const tools = [{ type: "function", name: "get_weather", parameters: weather, strict: true }];
const input = [{ role: "user", content: "Is it raining in Oslo?" }];
const first = await client.responses.create({ model, input, tools });
const call = first.output.find((item) => item.type === "function_call");
assert.deepEqual(JSON.parse(call.arguments), { city: "Oslo" });
const second = await client.responses.create({
  model,
  tools,
  input: [...input, ...first.output, { type: "function_call_output", call_id: call.call_id, output: "rain" }],
});
assert.ok(second.output_text);

const events = [];
for await (const event of await client.responses.create({ model, input: "Hello", stream: true })) events.push(event);
assert.equal(events[0].type, "response.created");
assert.equal(events.at(-1).type, "response.completed");
