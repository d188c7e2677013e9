// Ten calls with the client that hey-api makes; prints what they found as JSON.
import { client } from "./made/client.gen.js";
import * as sonant from "./made/sdk.gen.js";

client.setConfig({ baseUrl: process.env.SONANT_URL, auth: process.env.SONANT_KEY });
const throwOnError = true as const;

const models = await sonant.listModels({ throwOnError });
const messages = [{ role: "user" as const, content: "What is six times seven?" }];
const completion = await sonant.createChatCompletion({ body: { model: models.data.data[0].id, messages }, throwOnError });
const headers = { "x-user-id": "ada" };
const made = await sonant.createPrompt({ body: { name: "Keyed", text: "Be brief." }, headers, throwOnError });
const path = { id: made.data.prompt.id };
const second = await sonant.createPromptVersion({ path, body: { text: "Briefer." }, throwOnError });
const versions = await sonant.listPromptVersions({ path, query: { page_size: 5 }, throwOnError });
await sonant.renamePrompt({ path, body: { name: "Rekeyed" }, throwOnError });
const listed = await sonant.listPrompts({ query: { name: "Rekeyed" }, throwOnError });
await sonant.listJobs({ throwOnError });
await sonant.deletePrompt({ path, throwOnError });
const gone = await sonant.getPrompt({ path });

console.log(
  JSON.stringify({
    // Another request of this path is answered with events.
    answer: "choices" in completion.data ? completion.data.choices[0].message.content : undefined,
    version: second.data.prompt.version - made.data.prompt.version,
    versions: versions.data.prompts.length,
    listed: listed.data.prompts.map((prompt) => prompt.name),
    gone: gone.error?.error.code,
  }),
);
