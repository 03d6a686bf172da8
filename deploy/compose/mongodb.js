// Makes the replica set, roles and users. Each step is left out where it is done already.
const fs = require("node:fs");
const secret = (name) => fs.readFileSync(`/run/secrets/${name}`, "utf8").trim();
const admin = connect(`mongodb://root:${secret("mongodb-root")}@mongodb:27017/admin?directConnection=true`);

try {
  admin.adminCommand({ replSetGetStatus: 1 });
} catch (error) {
  if (error.codeName !== "NotYetInitialized") throw error;
  admin.adminCommand({ replSetInitiate: { _id: "rs0", members: [{ _id: 0, host: "mongodb:27017" }] } });
}
for (let tries = 0; !admin.hello().isWritablePrimary; tries += 1) {
  if (tries === 60) throw new Error("no primary within a minute");
  sleep(1000);
}

const emitter = {
  createRole: "usageLedgerEmitter",
  privileges: [{ resource: { db: "usage", collection: "requestEvents" }, actions: ["insert"] }],
  roles: [],
};
const read = (name) => JSON.parse(fs.readFileSync(`/setup/roles/${name}.json`, "utf8"));
for (const [name, role] of [
  ["worker", read("worker")],
  ["migration", read("migration")],
  ["emitter", emitter],
]) {
  const { createRole, ...rest } = role;
  if (admin.getRole(createRole) === null) admin.runCommand(role);
  else admin.runCommand({ updateRole: createRole, ...rest });
  const user = `usage-ledger-${name}`;
  const settings = { pwd: secret(`${name}-password`), roles: [createRole] };
  if (admin.getUser(user) === null) admin.createUser({ user, ...settings });
  else admin.updateUser(user, settings);
}
// The events are the emitters', and so is their collection: the ledger's worker may not make it.
const usage = admin.getSiblingDB("usage");
if (!usage.getCollectionNames().includes("requestEvents")) usage.createCollection("requestEvents");
print("mongodb: replica set, roles and users are there");
