// The official TypeScript client 2.x: sdk_2.mjs URL MODE, where MODE is legacy (the handshake), auto (asks which), or
// a stateless revision.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { model, person, tour } from "./tour.mjs";

const [url, word] = process.argv.slice(2);
const mode = ["legacy", "auto"].includes(word) ? word : { pin: word };
const client = new Client(
    { name: "t", version: "1" },
    { capabilities: { elicitation: { form: {} }, sampling: {} }, versionNegotiation: { mode } },
);
client.setRequestHandler("elicitation/create", person);
client.setRequestHandler("sampling/createMessage", model);
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const seen = await tour(client, (call, onprogress) => client.callTool(call, { onprogress }));
await client.close();
console.log(JSON.stringify(seen));
