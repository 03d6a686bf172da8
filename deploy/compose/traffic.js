// Requests of three services, ten a second, for as long as it runs.
const fs = require("node:fs");
if (process.env.SOURCE === "kafka") quit(0);
const password = fs.readFileSync("/run/secrets/emitter-password", "utf8").trim();
const events = connect(
  `mongodb://usage-ledger-emitter:${password}@mongodb:27017/usage?replicaSet=rs0&authSource=admin`,
).getCollection("requestEvents");
const any = (values) => values[Math.floor(Math.random() * values.length)];
const upTo = (most) => Math.floor(Math.random() * most);

for (;;) {
  const inputTokens = upTo(4000);
  const outputTokens = upTo(900);
  events.insertOne(
    {
      _id: crypto.randomUUID(),
      completedAt: new Date(),
      source: any(["chat", "workflow", "openai-compat"]),
      organizationId: any(["acme", "globex", "initech"]),
      agentSlug: any(["support", "invoice-reader", "search"]),
      userId: `u-${upTo(40)}`,
      model: any(["gpt-5-mini", "claude-haiku", "mistral-small"]),
      provider: "demo",
      inputTokens: Long.fromNumber(inputTokens),
      outputTokens: Long.fromNumber(outputTokens),
      costNanos: Long.fromNumber(inputTokens * 250 + outputTokens * 2000),
    },
    { writeConcern: { w: "majority" } },
  );
  sleep(100);
}
