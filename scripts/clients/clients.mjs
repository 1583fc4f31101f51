// Drives a server with official JavaScript clients: URL MODEL. See clients.py.
import OpenAI from "openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText, tool, jsonSchema, stepCountIs } from "ai";

const [url, model] = process.argv.slice(2);
const v1 = url + "/v1";
const ask = "What is the weather in Paris? Use the tool.";
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const messages = [{ role: "user", content: ask }];
const tools = [{ type: "function", function: { name: "get_weather", description: "Get the weather of a city.", parameters } }];
const client = new OpenAI({ baseURL: v1, apiKey: "none", maxRetries: 0, timeout: 600_000 });
const ai = createOpenAICompatible({ name: "m", baseURL: v1, apiKey: "none" })(model);

function must(ok, why) {
  if (!ok) throw new Error(typeof why === "string" ? why : JSON.stringify(why));
}

function called(calls) {
  must(calls.length > 0, "no call");
  for (const [name, input] of calls) must(name === "get_weather" && typeof input.city === "string", calls);
  return `${calls.length} call(s)`;
}

const weather = (execute) => ({ get_weather: tool({ description: "Get the weather of a city.", inputSchema: jsonSchema(parameters), execute }) });

const checks = [
  ["openai-node", "chat, whole and streamed", async () => {
    const body = { model, messages: [{ role: "user", content: "Name a colour." }], temperature: 0, max_tokens: 12 };
    const whole = (await client.chat.completions.create(body)).choices[0].message.content;
    let text = "";
    for await (const part of await client.chat.completions.create({ ...body, stream: true })) text += part.choices[0]?.delta?.content ?? "";
    must(whole && text, { whole, text });
  }],
  ["openai-node", "chat, tools whole and streamed", async () => {
    const body = { model, messages, tools, tool_choice: "required", temperature: 0, max_tokens: 80 };
    const whole = await client.chat.completions.create(body);
    const streamed = await client.chat.completions.stream(body).finalChatCompletion();
    return called([whole, streamed].flatMap((r) => r.choices[0].message.tool_calls ?? []).map((c) => [c.function.name, JSON.parse(c.function.arguments)]));
  }],
  ["openai-node", "responses, streamed with a tool", async () => {
    const stream = client.responses.stream({ model, input: ask, tools: [{ type: "function", name: "get_weather", parameters, strict: true }], tool_choice: "required", max_output_tokens: 80 });
    for await (const _ of stream);
    const r = await stream.finalResponse();
    return called(r.output.filter((o) => o.type === "function_call").map((o) => [o.name, JSON.parse(o.arguments)]));
  }],
  ["Vercel AI SDK", "generateText with tools", async () => {
    const seen = [];
    const r = await generateText({ model: ai, prompt: ask, tools: weather(async (x) => (seen.push(["get_weather", x]), "sunny")), toolChoice: "required", maxOutputTokens: 80, maxRetries: 0 });
    must(r.finishReason === "tool-calls", r.finishReason);
    return called(seen);
  }],
  ["Vercel AI SDK", "streamText with tools, two steps", async () => {
    const seen = [];
    let failed;
    const r = streamText({ model: ai, prompt: ask, tools: weather(async (x) => (seen.push(["get_weather", x]), "sunny")), stopWhen: stepCountIs(2), temperature: 0, maxOutputTokens: 80, maxRetries: 0, onError: ({ error }) => { failed = error; } });
    for await (const _ of r.fullStream);
    if (failed) throw failed;
    return called(seen);
  }],
];

for (const [client, what, f] of checks) {
  let said;
  try {
    const note = await f();
    said = note ? `ok (${note})` : "ok";
  } catch (e) {
    said = "FAILS: " + `${e?.name}: ${e?.message ?? e}`.replace(/\s+/g, " ").slice(0, 160);
  }
  console.log([client, what, said].join("\t"));
}
