// The request as code that a person can run elsewhere.
const INDENT = "    ";

// JSON and Python differ in three words; texts are quoted alike.
const toPython = (value, depth = 1) => {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = INDENT.repeat(depth + 1);
  const items = Array.isArray(value)
    ? value.map((each) => toPython(each, depth + 1))
    : Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${toPython(each, depth + 1)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return items.length ? `${open}\n${items.map((item) => `${inner}${item},\n`).join("")}${INDENT.repeat(depth)}${close}` : open + close;
};

export function buildPython(address, body) {
  const parts = Object.entries(body).map(([key, value]) => `${INDENT}${key}=${toPython(value)},\n`);
  return `from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(address)}, api_key="YOUR_KEY")
completion = client.chat.completions.create(
${parts.join("")})
print(completion.choices[0].message.content)
`;
}

// In a shell a single quote ends the text, so it is closed, escaped and opened again.
const quoteForShell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function buildCurl(address, body) {
  return `curl ${address}/chat/completions \\
  -H "Authorization: Bearer $GROOVE_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d ${quoteForShell(JSON.stringify(body, null, 2))}
`;
}
