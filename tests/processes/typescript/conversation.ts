// Two agents of two nodes talk through the client that is generated from /openapi.json. It throws if an answer is not
// the expected one. Each @ts-expect-error is a mistake that the generated types must find: tsc fails if they do not.
//
//     node conversation.js URL_OF_NODE_A URL_OF_NODE_B
import assert from "node:assert/strict"
import createClient from "openapi-fetch"
import type { components, paths } from "./mesh.js"

type Message = components["schemas"]["AgentMessage"]
type MeshEvent = components["schemas"]["StreamedEvent"]

const [urlA, urlB] = process.argv.slice(2) as [string, string]
const a = createClient<paths>({ baseUrl: urlA })
const b = createClient<paths>({ baseUrl: urlB })

const asker = { path: { source_instance: "asker", instance_id: "asker" } }
const translator = { path: { source_instance: "translator", instance_id: "translator" } }

function agent(instance_id: string, capabilities: string[]): components["schemas"]["RegisterRequest"] {
  return { instance_id, hostname: "localhost", port: 0, capabilities, agent_profiles: [] }
}

// Returns the body of a success.
function expected<T>({ data, error, response }: { data?: T; error?: unknown; response: Response }): T {
  assert(response.ok && data !== undefined, `${response.status}: ${JSON.stringify(error)}`)
  return data
}

async function receive(client: typeof a, instance_id: string): Promise<Message> {
  const read = await client.GET("/messages/{instance_id}", { params: { path: { instance_id }, query: { wait: 30 } } })
  const [message, ...more] = expected(read).messages
  assert(message !== undefined && more.length === 0)
  const done = await client.POST("/messages/ack/{instance_id}", {
    params: { path: { instance_id } },
    body: { message_ids: [message.message_id] },
  })
  assert.equal(done.response.status, 204)
  return message
}

// Register, heartbeat, list.
const registered = expected(await a.POST("/registry/register", { body: agent("translator", ["translate"]) }))
assert(registered.success && registered.peers.some((peer) => peer.instance_id === "translator"))
expected(await b.POST("/registry/register", { body: agent("asker", []) }))
const beat = await b.POST("/registry/heartbeat/{instance_id}", { params: asker, body: { status: "asking" } })
assert.equal(expected(beat).acknowledged, true)
const beaten = await a.POST("/registry/heartbeat/{instance_id}", {
  params: translator,
  body: { status: "idle", metrics: { queue: 3 } },
})
assert.equal(expected(beaten).leader_id, registered.leader_id)
const listed = expected(await b.GET("/registry/agents", { params: { query: { capability: ["translate"] } } }))
assert.deepEqual(listed.instances.map((one) => one.instance_id), ["translator"])
const shown = expected(await b.GET("/registry/agents/{instance_id}", { params: translator }))
assert.deepEqual([shown.state, shown.home, shown.metrics?.["queue"]], ["alive", "a", 3])

// Send, receive, acknowledge.
const sent = expected(
  await b.POST("/messages/send/{source_instance}", {
    params: asker,
    body: { target_instance: "translator", message_type: { Custom: "Greeting" }, payload: { text: "good morning" } },
  }),
)
assert.deepEqual(sent.delivered_to, ["translator"])
const greeting = await receive(a, "translator")
assert.deepEqual([greeting.message_type, greeting.payload], [{ Custom: "Greeting" }, { text: "good morning" }])
assert.equal(new Date(greeting.created_at).getFullYear() > 2000, true)
const traced = await b.GET("/messages/status/{message_id}", { params: { path: { message_id: sent.message_id } } })
assert.deepEqual(expected(traced).recipients.map((one) => one.status), ["acknowledged"])

// Query and reply.
expected(
  await b.POST("/messages/send/{source_instance}", {
    params: asker,
    body: { target_instance: "translator", message_type: "Query", payload: { word: "bridge" }, correlation_id: "1" },
  }),
)
const query = await receive(a, "translator")
expected(
  await a.POST("/messages/send/{source_instance}", {
    params: translator,
    body: {
      target_instance: query.source_instance,
      message_type: "Response",
      payload: { word: "pont" },
      correlation_id: query.correlation_id,
    },
  }),
)
const answer = await receive(b, "asker")
assert.deepEqual([answer.message_type, answer.correlation_id, answer.payload], ["Response", "1", { word: "pont" }])

// Errors: 404 and 409 have the types of their bodies.
const unknown = await a.GET("/registry/agents/{instance_id}", { params: { path: { instance_id: "nobody" } } })
assert.equal(unknown.response.status, 404)
const unknownText: string | undefined = unknown.error?.error
assert(unknownText?.includes("nobody"))
const gone = await a.POST("/registry/heartbeat/{instance_id}", {
  params: { path: { instance_id: "nobody" } },
  body: { status: "lost", metrics: null },
})
assert.equal(gone.response.status, 404)
assert(gone.error !== undefined && "acknowledged" in gone.error && !gone.error.acknowledged)
const taken = await a.POST("/registry/register", { body: agent("b", []) })
assert.equal(taken.response.status, 409)
const conflict: string | undefined = taken.error?.error
assert(conflict?.includes("'b' is a live node"))

// The types of events tell them apart.
function deadOf(event: MeshEvent): string | null {
  return event.type === "member_died" ? `${event.instance.instance_id}: ${event.evidence}` : null
}
const stream = await fetch(`${urlA}/events`)
const reader = stream.body!.pipeThrough(new TextDecoderStream()).getReader()
let text = ""
while (!text.includes("\n\n")) text += (await reader.read()).value ?? assert.fail("the stream ended")
await reader.cancel()
const data = text.split("\n\n")[0]!.split("\n").filter((line) => line.startsWith("data: "))
const first = JSON.parse(data.map((line) => line.slice(6)).join("\n")) as MeshEvent
assert(first.type === "snapshot" && first.members.length === 4 && deadOf(first) === null)

// Deregister, and the mistakes that do not compile.
assert.equal((await a.DELETE("/registry/deregister/{instance_id}", { params: translator })).response.status, 204)
assert.equal((await b.DELETE("/registry/deregister/{instance_id}", { params: asker })).response.status, 204)
export const mistakes = [
  // @ts-expect-error a key is missing
  () => a.POST("/registry/register", { body: { instance_id: "x", hostname: "localhost", port: 0, capabilities: [] } }),
  // @ts-expect-error there is no such kind
  () => a.POST("/messages/send/{source_instance}", { params: asker, body: { message_type: "Qurey", payload: 1 } }),
  // @ts-expect-error there is no such state
  () => shown.state === "asleep",
  // @ts-expect-error a status has a fixed set of values
  () => sent.status === "lost",
  // @ts-expect-error a metric may be anything
  (): number => shown.metrics!["queue"],
  // @ts-expect-error the evidence of a death is one of four
  (event: MeshEvent) => event.type === "member_died" && event.evidence === "guess",
]
console.log("both agents had the whole conversation")
