// Fetches curves. Charts that ask within a moment share requests.
const WAIT_MS = 20;
const MAX_KEYS = 100;
const waiting = new Map();

export function fetchSeries(lines, points, from, to) {
  const range = `${from ?? ""} ${to ?? ""}`;
  return new Promise((resolve, reject) => {
    if (!waiting.has(range)) {
      waiting.set(range, []);
      setTimeout(() => send(range, from, to), WAIT_MS);
    }
    waiting.get(range).push({ lines, points, resolve, reject });
  });
}

async function send(range, from, to) {
  const requests = waiting.get(range);
  waiting.delete(range);
  const jobs = new Set(requests.flatMap(({ lines }) => lines.map((line) => line.job)));
  const keys = [...new Set(requests.flatMap(({ lines }) => lines.map((line) => line.key)))];
  const points = Math.max(...requests.map((request) => request.points));
  try {
    const found = new Map();
    for (let start = 0; start < keys.length; start += MAX_KEYS) {
      for (const series of await get(jobs, keys.slice(start, start + MAX_KEYS), points, from, to)) {
        found.set(`${series.job} ${series.key}`, series);
      }
    }
    for (const { lines, resolve } of requests) {
      resolve(lines.map((line) => found.get(`${line.job} ${line.key}`)).filter(Boolean));
    }
  } catch (error) {
    for (const { reject } of requests) reject(error);
  }
}

async function get(jobs, keys, points, from, to) {
  const query = new URLSearchParams([...jobs].map((job) => ["job", job]));
  for (const key of keys) query.append("key", key);
  query.set("points", String(points));
  if (from !== undefined) query.set("from_step", String(from));
  if (to !== undefined) query.set("to_step", String(to));
  let answer;
  try {
    answer = await fetch(`/series?${query}`);
  } catch {
    throw new Error("the service is not reachable");
  }
  if (answer.ok) return (await answer.json()).series;
  const problem = await answer.json().catch(() => ({}));
  throw new Error(problem.detail ?? `the service answered ${answer.status}`);
}
