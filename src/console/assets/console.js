// The live feed: a bounded list, newest first; also updates the counters of the shown subscriptions.
"use strict";

const NOTICES_MAX = 100;
const list = document.getElementById("notices");
const state = document.getElementById("live-state");

function say(text, kind) {
  const line = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString();
  const words = document.createElement("span");
  words.textContent = text;
  words.className = kind;
  line.append(time, words);
  list.prepend(line);
  while (list.children.length > NOTICES_MAX) list.lastElementChild.remove();
}

function count(subscription, name) {
  const row = document.querySelector(`[data-subscription="${CSS.escape(subscription)}"]`);
  const cell = row && row.querySelector(`[data-count="${name}"]`);
  if (!cell) return;
  cell.textContent = String(Number(cell.textContent) + 1);
  if (name === "errors" || name === "failed") cell.classList.add("bad");
}

function show(notice) {
  const what = notice.entity || notice.eventId || "";
  if (notice.notice === "routed") {
    notice.matches.forEach((id) => count(id, "matched"));
    notice.errors.forEach((id) => count(id, "errors"));
    const to = notice.matches.length ? "→ " + notice.matches.join(", ") : notice.unmatched;
    say(`${notice.eventType} ${what} ${to}`, notice.matches.length ? "routed" : "unmatched");
    notice.failures.forEach((failure) => {
      const anyway = failure.delivered ? " (delivered nevertheless)" : "";
      say(`${failure.subscription} ${what} filter failed${anyway}: ${failure.because}`, "bad");
    });
    const unnamed = notice.errors.length - notice.failures.length;
    if (unnamed > 0) say(`${what} ${unnamed} more filters failed`, "bad");
    return;
  }
  if (notice.outcome === "delivered") count(notice.subscription, "delivered");
  else if (notice.ms !== null) count(notice.subscription, "failed");
  const took = notice.ms === null ? "" : ` in ${notice.ms} ms`;
  const kind = notice.outcome.split(":")[0];
  say(`${notice.subscription} ${what} attempt ${notice.attempt}: ${notice.outcome}${took}`, kind);
}

let feed = "not connected";
let failing = "";

function showState(connection, why) {
  [feed, failing] = [connection, why];
  const works = feed === "connected" && !failing;
  state.textContent = failing ? `no events: ${failing}` : feed;
  state.className = works ? "" : "bad";
}

// The feed stays open while the router cannot reach the broker, and then it is silent.
async function checkReady() {
  let why = "";
  try {
    const answer = await fetch("/healthz/ready");
    if (!answer.ok) why = (await answer.json()).failing.join(", ");
  } catch {
    why = "the router does not answer";
  }
  showState(feed, why);
}

const source = new EventSource("/live");
source.onopen = () => showState("connected", failing);
source.onerror = () => showState("reconnecting", failing);
source.onmessage = (message) => show(JSON.parse(message.data));
source.addEventListener("missed", (message) => say(`${message.data} notices skipped`, "unmatched"));
setInterval(checkReady, 5000);
checkReady();
