// The schema of the service as a page: one heading per route, its options and answers, then the models.
function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

function kind(schema = {}) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.enum) return schema.enum.join(", ");
  if (schema.type === "array") return `list of ${kind(schema.items)}`;
  return schema.format ? `${schema.type} (${schema.format})` : schema.type ?? "";
}

function table(heads, rows) {
  const made = element("table");
  for (const [cell, line] of [["th", heads], ...rows.map((row) => ["td", row])]) {
    const tr = element("tr");
    line.forEach((text) => tr.append(element(cell, text)));
    made.append(tr);
  }
  return made;
}

function content(body = {}) {
  return Object.entries(body).map(([type, held]) => `${type}: ${kind(held.schema)}`).join("; ");
}

function route(place, path, method, operation) {
  place.append(element("h2", `${method.toUpperCase()} ${path}`), element("p", operation.description ?? ""));
  const options = (operation.parameters ?? []).map((p) => [p.name, p.in, kind(p.schema), p.description ?? ""]);
  if (options.length) place.append(table(["option", "where", "type", "what"], options));
  if (operation.requestBody) {
    place.append(element("p", `Body: ${operation.requestBody.description} (${Object.keys(operation.requestBody.content).join(" or ")})`));
  }
  const answers = Object.entries(operation.responses).map(([code, a]) => [code, a.description, content(a.content)]);
  place.append(table(["answer", "what", "content"], answers));
}

function model(place, name, schema) {
  place.append(element("h2", name), element("p", schema.description ?? ""));
  const rows = Object.entries(schema.properties ?? {}).map(([key, held]) => [key, kind(held), held.description ?? ""]);
  place.append(table(["field", "type", "what"], rows));
}

async function fill() {
  const place = document.getElementById("routes");
  const schema = await (await fetch("openapi.json")).json();
  place.append(element("p", schema.info.description));
  for (const [path, methods] of Object.entries(schema.paths)) {
    for (const [method, operation] of Object.entries(methods)) route(place, path, method, operation);
  }
  for (const [name, held] of Object.entries(schema.components.schemas)) model(place, name, held);
}

fill().catch(() => document.getElementById("routes").append(element("p", "The schema cannot be read.")));
