// The official TypeScript SDK 1.x: sdk_1.mjs URL; HTTP+SSE if it ends in /sse.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
    CreateMessageRequestSchema, ElicitRequestSchema, ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { model, person, tour } from "./tour.mjs";

const url = process.argv[2];
const sse = url.endsWith("/sse");
const transport = new (sse ? SSEClientTransport : StreamableHTTPClientTransport)(new URL(url));
const client = new Client({ name: "t", version: "1" }, { capabilities: { elicitation: {}, sampling: {} } });
client.setRequestHandler(ElicitRequestSchema, person);
client.setRequestHandler(CreateMessageRequestSchema, model);
const changed = new Promise((resolve) => client.setNotificationHandler(ToolListChangedNotificationSchema, resolve));
await client.connect(transport);
const seen = await tour(client, (call, onprogress) => client.callTool(call, undefined, { onprogress }));
await client.callTool({ name: "test_trigger_tool_change", arguments: {} });
await changed;
if (!sse) await transport.terminateSession();
await client.close();
console.log(JSON.stringify(seen));
