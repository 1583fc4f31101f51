// The official TypeScript client: a run with one call refused and one allowed, and the
// tools that need none. Arguments: the work dir, then "http URL" or "stdio PROGRAM ARG…".
import assert from "node:assert";
import fs from "node:fs";
import path from "node:path";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const [dir, how, target, ...args] = process.argv.slice(2);
const client = new Client({ name: "test", version: "1" }, { capabilities: { elicitation: {} } });
client.setRequestHandler(ElicitRequestSchema, (request) => ({
  action: "accept",
  content: { decision: request.params.message.includes("a.txt") ? "refuse" : "allow", reason: "not that one" },
}));
await client.connect(how === "http"
  ? new StreamableHTTPClientTransport(new URL(target))
  : new StdioClientTransport({ command: target, args, env: process.env, stderr: "inherit" }));

const { tools } = await client.listTools();
assert.deepEqual(tools.map((t) => t.name).sort(), ["choose", "classify", "count_tokens", "read_document", "run"]);
let told = 0;
const run = await client.callTool({ name: "run", arguments: { task: "write two numbers" } }, undefined, { onprogress: () => told++ });
assert.equal(run.structuredContent.answer, "done");
assert.deepEqual(run.structuredContent.refused, ["writer: not that one"]);
assert.deepEqual(run.structuredContent.files, ["b.txt"]);
assert.ok(!fs.existsSync(path.join(dir, "a.txt")) && fs.existsSync(path.join(dir, "b.txt")));
assert.ok(told >= 5, `${told} notifications`);
const choice = await client.callTool({ name: "choose", arguments: { question: "Which?", options: ["apple", "pear"] } });
assert.equal(choice.structuredContent.text, "pear");
const sorted = await client.callTool({ name: "classify", arguments: { items: ["x", "y"], options: ["apple", "pear"] } });
assert.deepEqual(sorted.structuredContent.counts, { apple: 1, pear: 1 });
const count = await client.callTool({ name: "count_tokens", arguments: { text: "a few words" } });
assert.ok(count.structuredContent.tokens > 0);
const read = await client.callTool({ name: "read_document", arguments: { file: "b.txt" } });
assert.match(read.content[0].text, /2/);
await client.close();
console.log(`${how}: ${tools.length} tools, ${told} notifications, ok`);
