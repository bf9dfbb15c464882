// The tour (see test_real_clients.py) for both official TypeScript SDKs, whose calls differ only in a parameter.

export const person = async () => ({ action: "accept", content: { username: "ada", email: "ada@example.com" } });
export const model = async () => ({ role: "assistant", model: "m", content: { type: "text", text: "sampled" } });

export async function tour(client, callWithProgress) {
    const text = async (name, args = {}) => (await client.callTool({ name, arguments: args })).content[0].text;
    const progress = [];
    const seen = { tools: (await client.listTools()).tools.length, text: await text("test_simple_text") };
    await callWithProgress({ name: "test_tool_with_progress", arguments: {} }, (event) => progress.push(event.progress));
    seen.progress = progress;
    seen.elicitation = await text("test_elicitation", { message: "who?" });
    seen.sampling = await text("test_sampling", { prompt: "say" });
    seen.resource = (await client.readResource({ uri: "test://static-text" })).contents[0].text;
    seen.prompt = (await client.getPrompt({ name: "test_simple_prompt" })).messages[0].content.text;
    return seen;
}
