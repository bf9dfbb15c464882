// Server-sent events of a response that fetch gave, which EventSource cannot read: it sends no headers.

const LINE_END = "\n"; // the gateway writes no other
const MEMBER = /^(id|data|event): ?(.*)$/s;

/** Each event of ``body`` as ``{id, data}``; ``data`` is "" for one that has an id alone. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let event = {};
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = value.split(LINE_END);
    lines[0] = rest + lines[0];
    rest = lines.pop();
    for (const line of lines) {
      const [, name, text] = MEMBER.exec(line) ?? [];
      if (name) event[name] = text;
      if (line) continue;
      if ("id" in event || "data" in event) yield { id: event.id ?? "", data: event.data ?? "" };
      event = {};
    }
  }
}
