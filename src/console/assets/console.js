// What pages gain with scripts: copied commands, a filter that is checked while it is typed, the live view.
"use strict";

function copied(button) {
  navigator.clipboard.writeText(button.dataset.copy).then(() => {
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 1500);
  });
}

document.querySelectorAll("[data-copy]").forEach((button) => {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", () => copied(button));
});

// The checker of the router answers with what the page shows; nothing is checked here.
document.querySelectorAll("[data-check]").forEach((field) => {
  const shown = document.getElementById("check");
  let waiting = 0;
  let asked = 0;
  async function check() {
    const number = ++asked;
    const answer = await fetch(`${field.dataset.check}?expression=${encodeURIComponent(field.value)}`);
    if (answer.ok && number === asked) shown.innerHTML = await answer.text();
  }
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(check, 300);
  });
});

const feed = document.getElementById("feed");
if (feed) {
  const LINES_MAX = 200;
  const state = document.getElementById("live-state");
  const pause = document.getElementById("live-pause");
  let isPaused = false;
  let kept = 0;

  const link = (path, text) => {
    const made = document.createElement("a");
    made.href = path;
    made.textContent = text;
    return made;
  };
  const subscription = (id) => link(`/subscriptions/${encodeURIComponent(id)}`, id);
  const word = (kind, text) => {
    const made = document.createElement("span");
    made.className = `state ${kind}`;
    made.textContent = text;
    return made;
  };

  function add(parts) {
    const line = document.createElement("li");
    const time = document.createElement("time");
    time.textContent = new Date().toLocaleTimeString();
    const words = document.createElement("div");
    words.append(...parts);
    line.append(time, words);
    feed.prepend(line);
    while (feed.children.length > LINES_MAX) feed.lastElementChild.remove();
  }

  function event(notice) {
    const name = notice.entity || notice.eventId || "an event";
    return link(`/events/${encodeURIComponent(`${notice.site}/${notice.eventId}`)}`, name);
  }

  function show(notice) {
    if (notice.notice === "idle") return;
    if (notice.notice === "missed") {
      add([notice.events ? `${notice.events} more happened than this page shows` : "More happened than this page shows"]);
    } else if (notice.notice === "routed") {
      const parts = [event(notice), ` ${notice.eventType} `];
      if (notice.matches.length) {
        parts.push(word("good", "matched"), " ");
        notice.matches.forEach((id, at) => parts.push(...(at ? [", "] : []), subscription(id)));
      } else {
        parts.push(word("quiet", notice.unmatched || "not matched"));
      }
      add(parts);
      notice.failures.forEach((failure) => {
        const anyway = failure.delivered ? ", delivered nevertheless" : "";
        add([event(notice), " ", subscription(failure.subscription), " ", word("bad", "filter failed"), `${anyway}: ${failure.because}`]);
      });
    } else {
      const kind = { delivered: "good", parked: "warn", dead: "bad" }[notice.outcome.split(":")[0]] || "quiet";
      const took = notice.ms === null || notice.ms === undefined ? "" : ` in ${notice.ms} ms`;
      add([link(`/deliveries/${encodeURIComponent(notice.deliveryId)}`, notice.entity || "delivery"), " to ",
        subscription(notice.subscription), " ", word(kind, notice.outcome), ` attempt ${notice.attempt}${took}`]);
    }
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Go on" : "Pause";
    if (!isPaused) kept = 0;
    say();
  });

  let connection = "not connected";
  function say() {
    state.className = connection === "connected" ? "state good" : "state bad";
    state.textContent = isPaused ? `paused, ${kept} not shown` : connection;
  }

  // The feed stays open while the router cannot reach the broker, and then it is silent.
  async function checkReady() {
    try {
      const answer = await fetch("/healthz/ready");
      if (answer.ok) { if (connection.startsWith("no events")) connection = "connected"; }
      else connection = `no events: ${(await answer.json()).failing.join(", ")}`;
    } catch { connection = "no events: the router does not answer"; }
    say();
  }

  async function follow() {
    const answer = await fetch(feed.dataset.stream);
    if (!answer.ok) throw new Error(`the router answered ${answer.status}`);
    connection = "connected";
    say();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      const notices = lines.filter((line) => line).map((line) => JSON.parse(line));
      if (isPaused) { kept += notices.filter((one) => one.notice !== "idle").length; say(); }
      else notices.slice(-LINES_MAX).forEach(show);
    }
  }

  (async () => {
    for (;;) {
      try { await follow(); connection = "reconnecting"; } catch (error) { connection = `reconnecting: ${error.message}`; }
      say();
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  })();
  setInterval(checkReady, 5000);
}
