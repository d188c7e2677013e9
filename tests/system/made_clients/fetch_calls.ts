// Ten calls with openapi-fetch and the types of openapi-typescript; prints what they found as JSON.
import createClient from "openapi-fetch";
import type { paths } from "./types.js";

const { SONANT_URL, SONANT_KEY } = process.env;
const client = createClient<paths>({ baseUrl: SONANT_URL, headers: { authorization: `Bearer ${SONANT_KEY}` } });

async function told<T>(answer: Promise<{ data?: T; error?: unknown }>): Promise<T> {
  const { data, error } = await answer;
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

const models = await told(client.GET("/v1/models"));
const body = { model: models.data[0].id, messages: [{ role: "user" as const, content: "What is six times seven?" }] };
const completion = await told(client.POST("/v1/chat/completions", { body }));
const header = { "x-user-id": "ada" };
const made = await told(client.POST("/v1/prompts", { body: { name: "Fetched", text: "Be brief." }, params: { header } }));
const path = { id: made.prompt.id };
const second = await told(client.POST("/v1/prompts/{id}/versions", { body: { text: "Briefer." }, params: { path } }));
const versions = await told(client.GET("/v1/prompts/{id}/versions", { params: { path, query: { page_size: 5 } } }));
await told(client.PATCH("/v1/prompts/{id}", { body: { name: "Refetched" }, params: { path } }));
const listed = await told(client.GET("/v1/prompts", { params: { query: { name: "Refetched" } } }));
await told(client.GET("/v1/jobs"));
await told(client.DELETE("/v1/prompts/{id}", { params: { path } }));
const gone = await client.GET("/v1/prompts/{id}", { params: { path } });

console.log(
  JSON.stringify({
    // Another request of this path is answered with events.
    answer: "choices" in completion ? completion.choices[0].message.content : undefined,
    version: second.prompt.version - made.prompt.version,
    versions: versions.prompts.length,
    listed: listed.prompts.map((prompt) => prompt.name),
    gone: gone.error?.error.code,
  }),
);
