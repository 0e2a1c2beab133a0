// The router under test, as its operator reaches it.
export const server = process.env.SWITCHYARD_SERVER;
const token = process.env.SWITCHYARD_TOKEN;

export async function admin(method, path, body) {
  const answer = await fetch(`${server}/admin/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

export async function until(condition, holds) {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`not within 20 s: ${condition}`);
    await new Promise((wake) => setTimeout(wake, 20));
  }
}
