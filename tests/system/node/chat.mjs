// Talks to a gateway as users of Node's OpenAI client do and prints what came as one JSON object.
// Address and key come from OPENAI_BASE_URL and OPENAI_API_KEY, as the client reads them by itself.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const said = (text) => [{ role: "user", content: text }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const description = "The weather of a city";
const tool = { type: "function", function: { name: "get_weather", description, parameters } };

async function chunksOf(request) {
  const chunks = [];
  for await (const chunk of await client.chat.completions.create({ model: "default", ...request, stream: true })) {
    chunks.push(chunk);
  }
  return chunks;
}

async function whole() {
  const { data, request_id, response } = await client.chat.completions
    .create({ model: "default", messages: said("Say: all at once") })
    .withResponse();
  return { content: data.choices[0].message.content, request_id, provider: response.headers.get("x-sonant-provider") };
}

async function streamed() {
  const chunks = await chunksOf({ messages: said("Say: bit by bit"), stream_options: { include_usage: true } });
  return {
    text: chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""),
    usages: chunks.map((chunk) => chunk.usage),
    choices: chunks.at(-1).choices,
  };
}

async function helper() {
  let heard = "";
  const stream = client.chat.completions.stream({ model: "default", messages: said("Say: with the helper") });
  stream.on("content", (delta) => (heard += delta));
  const final = await stream.finalChatCompletion();
  return { heard, message: final.choices[0].message, finish_reason: final.choices[0].finish_reason };
}

async function toolDeltas() {
  const chunks = await chunksOf({ messages: said("What is the weather in Lisbon?"), tools: [tool] });
  const calls = chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []);
  return {
    ids: calls.map((call) => call.id ?? null),
    name: calls[0].function.name,
    arguments: calls.map((call) => call.function.arguments ?? "").join(""),
    finish_reason: chunks.at(-1).choices[0].finish_reason,
  };
}

async function runner() {
  const asked = [];
  const tools = [
    {
      type: "function",
      function: {
        name: "get_weather",
        description,
        parameters,
        parse: JSON.parse,
        function: ({ city }) => {
          asked.push(city);
          return "A cloudless sky";
        },
      },
    },
  ];
  const messages = said("What is the weather in Lisbon?");
  const run = client.chat.completions.runTools({ model: "default", messages, tools, stream: true });
  return { final: await run.finalContent(), asked, roles: run.messages.map((message) => message.role) };
}

// What a stream says, each kind of delta once for as long as it goes on.
function kindsOf(chunks) {
  const told = [];
  for (const { delta } of chunks.flatMap((chunk) => chunk.choices)) {
    for (const [kind, value] of Object.entries(delta)) {
      if (kind !== "role" && value && value.length && told.at(-1) !== kind) told.push(kind);
    }
  }
  return told;
}

async function thinking(model) {
  const request = { model, messages: said("What is the weather in Lisbon?"), tools: [tool] };
  const kinds = kindsOf(await chunksOf(request));
  const final = await client.chat.completions.stream(request).finalChatCompletion();
  return { kinds, message: final.choices[0].message, finish_reason: final.choices[0].finish_reason };
}

async function declining(model) {
  const request = { model, messages: said("Say: I will not. Ask me another") };
  const kinds = kindsOf(await chunksOf(request));
  const final = await client.chat.completions.stream(request).finalChatCompletion();
  return { kinds, message: final.choices[0].message };
}

async function logprobs(model) {
  const request = { model, messages: said("Say: One is here. Two is, and no more"), logprobs: true };
  const pieces = (await chunksOf(request)).flatMap((chunk) => chunk.choices).filter(({ delta }) => delta.content);
  const final = await client.chat.completions.stream(request).finalChatCompletion();
  const textOf = (entries) => entries.map((entry) => entry.token).join("");
  return {
    texts: pieces.map(({ delta }) => delta.content),
    tokens: pieces.map((choice) => textOf(choice.logprobs.content)),
    final: textOf(final.choices[0].logprobs.content),
  };
}

async function failure(ask) {
  try {
    await ask();
    return { name: "none" };
  } catch (error) {
    return { name: error.constructor.name, status: error.status ?? null, code: error.code, type: error.type };
  }
}

async function embeddings() {
  // The client asks for base64 by itself, and unpacks it.
  const { data, usage } = await client.embeddings.create({ model: "embeddings", input: ["one", "two"], dimensions: 8 });
  return { vectors: data.map((each) => Array.from(each.embedding)), usage };
}

const models = [];
for await (const model of client.models.list()) models.push(model.id);

const told = {
  models,
  whole: await whole(),
  streamed: await streamed(),
  helper: await helper(),
  toolDeltas: await toolDeltas(),
  runner: await runner(),
  thinking: [await thinking("thinking"), await thinking("thinking-twice")],
  declining: [await declining("declining"), await declining("declining-twice")],
  logprobs: [await logprobs("default"), await logprobs("twice")],
  embeddings: await embeddings(),
  unknownModel: await failure(() => chunksOf({ model: "nonesuch", messages: said("hi") })),
  wrongKey: await failure(() => new OpenAI({ apiKey: "sk-nobody", maxRetries: 0 }).models.list()),
  broken: await failure(() => chunksOf({ model: "breaking", messages: said("Say: a b c d e f g h") })),
};
console.log(JSON.stringify(told));
