// The page of `agent serve`: chat, decisions, and tasks. Text of models and files is
// only ever set as text, never as HTML.

const $ = (id) => document.getElementById(id);

// node makes an element with properties and children.
function node(tag, props = {}, ...children) {
  const n = Object.assign(document.createElement(tag), props);
  n.append(...children);
  return n;
}

function fail(err) {
  if (err?.name === "AbortError") return;
  $("problem").textContent = err ? String(err.message ?? err) : "";
  $("problem").hidden = !err;
}

// call asks the server, with the key where there is one.
async function call(path, body, signal) {
  fail();
  const key = sessionStorage.getItem("key");
  const headers = { ...(body && { "Content-Type": "application/json" }), ...(key && { Authorization: `Bearer ${key}` }) };
  const res = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal, cache: "no-store" });
  if (res.ok) return res;
  if (res.status === 401) {
    $("key-form").hidden = false;
    $("key").focus();
  }
  const text = await res.text();
  let message = text;
  try { message = JSON.parse(text).error?.message ?? text; } catch { /* no JSON */ }
  throw new Error(message || `the server answered ${res.status}`);
}

// events reads server-sent events as JSON.
async function* events(res) {
  const reader = res.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((l) => l.startsWith("data: ")).map((l) => l.slice(6)).join("\n");
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

// follow keeps the end of a log in sight, unless the reader has gone elsewhere in it.
function follow(log, change) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  change();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

// ---- parts of the page

function show() {
  const wanted = location.hash.slice(1).split("/")[0];
  const part = ["decide", "tasks"].includes(wanted) ? wanted : "chat";
  for (const id of ["chat", "decide", "tasks"]) {
    $(id).hidden = id !== part;
    const link = document.querySelector(`nav a[href="#${id}"]`);
    id === part ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
}
addEventListener("hashchange", () => { show(); openTask(); });

async function begin() {
  try {
    const models = await (await call("/v1/models")).json();
    const m = models.data[0];
    model = m.id;
    const length = m.context_length ?? m.max_model_len ?? m.meta?.n_ctx;
    $("model").textContent = length ? `${m.id}, ${length.toLocaleString()} tokens of context` : m.id;
    await listTasks();
    openTask();
  } catch (err) { fail(err); }
}
let model = "";

$("key-form").addEventListener("submit", (e) => {
  e.preventDefault();
  sessionStorage.setItem("key", $("key").value);
  $("key-form").hidden = true;
  begin();
});

// submitOnEnter: Enter sends, Shift+Enter is a new line.
for (const id of ["said", "task"]) {
  $(id).addEventListener("keydown", (e) => {
    if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
      e.preventDefault();
      e.target.form.requestSubmit();
    }
  });
}

// ---- chat

const talk = JSON.parse(sessionStorage.getItem("talk") ?? "[]");
let chatting = null;

function bubble(role, text) {
  const body = node("p", { textContent: text });
  const who = role === "user" ? "You" : "Model";
  follow($("messages"), () => $("messages").append(node("article", { className: role }, node("p", { className: "who", textContent: who }), body)));
  return body;
}

function keepTalk() {
  try { sessionStorage.setItem("talk", JSON.stringify(talk)); } catch { /* too long to be kept */ }
}

$("chat-form").addEventListener("submit", async (e) => {
  e.preventDefault();
  if (chatting || !$("said").value.trim()) return;
  const said = $("said").value.trim();
  talk.push({ role: "user", content: said });
  keepTalk();
  bubble("user", said);
  $("said").value = "";
  const body = bubble("assistant", "");
  let reply = "", usage, ended;
  chatting = new AbortController();
  $("chat-stop").hidden = false;
  $("send").disabled = true;
  const start = performance.now();
  try {
    const res = await call("/v1/chat/completions", { model, messages: talk, stream: true, stream_options: { include_usage: true } }, chatting.signal);
    for await (const ev of events(res)) {
      if (ev.error) throw new Error(ev.error.message);
      usage = ev.usage ?? usage;
      ended = ev.choices?.[0]?.finish_reason ?? ended;
      reply += ev.choices?.[0]?.delta?.content ?? "";
      follow($("messages"), () => { body.textContent = reply; });
    }
  } catch (err) { fail(err); }
  const stopped = chatting.signal.aborted;
  chatting = null;
  $("chat-stop").hidden = true;
  $("send").disabled = false;
  if (reply) talk.push({ role: "assistant", content: reply });
  else { talk.pop(); $("said").value ||= said; body.parentElement.previousSibling.remove(); body.parentElement.remove(); }
  keepTalk();
  $("chat-count").textContent = counted(usage, ended, stopped, performance.now() - start);
  $("said").focus();
});

function counted(usage, ended, stopped, ms) {
  const parts = [];
  if (usage) {
    const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
    parts.push(`prompt ${usage.prompt_tokens} tokens, ${cached} of them from the cache`, `reply ${usage.completion_tokens}`,
      `${(usage.completion_tokens / (ms / 1000)).toFixed(1)} tokens/s`);
  }
  if (stopped) parts.push("stopped");
  if (ended === "length") parts.push("cut off: there was no room for more");
  return parts.join("; ");
}

$("chat-stop").addEventListener("click", () => chatting?.abort());
$("chat-new").addEventListener("click", () => {
  chatting?.abort();
  talk.length = 0;
  keepTalk();
  $("messages").replaceChildren();
  $("chat-count").textContent = "";
  $("said").focus();
});
for (const m of talk) bubble(m.role, m.content);

// ---- decide

$("decide-form").addEventListener("submit", async (e) => {
  e.preventDefault();
  const options = [...new Set($("options").value.split("\n").map((o) => o.trim()).filter(Boolean))];
  const button = e.target.querySelector("button");
  button.disabled = true;
  $("decision").replaceChildren();
  try {
    if (options.length < 2) throw new Error("Give two options or more, one on each line.");
    const question = $("question").value;
    const res = await call("/v1/decisions", { model, input: $("about").value || question,
      questions: [{ type: "choice", name: "answer", instructions: question, choices: options.map((value) => ({ value })) }] });
    bars((await res.json()).answers[0]);
  } catch (err) { fail(err); }
  button.disabled = false;
});

function bars(answer) {
  const all = answer.probabilities.toSorted((a, b) => b.probability - a.probability);
  for (const p of all) {
    const percent = `${(100 * p.probability).toFixed(1)} %`;
    $("decision").append(node("div", { className: p.value === answer.choice ? "option best" : "option" },
      node("span", { textContent: p.value }),
      node("meter", { min: 0, max: 1, value: p.probability, ariaLabel: p.value, title: percent }),
      node("span", { textContent: percent })));
  }
  const e = answer.evidence ?? {};
  $("decision").append(node("p", { className: "quiet", textContent: [e.method && `by ${e.method}`, e.margin !== undefined && `margin ${e.margin.toFixed(2)} nats`,
    e.tie && "a tie"].filter(Boolean).join("; ") }));
}

// ---- tasks

let watched = null; // { id, stop }

async function listTasks() {
  let all;
  try { all = await (await call("/tasks")).json(); } catch (err) {
    if (/no such|not found|Unknown/i.test(err.message)) { fail(); return; } // this server works on no tasks
    throw err;
  }
  $("tasks-link").hidden = false;
  $("folder").textContent = all.folder;
  const item = (href, text, state, props = {}) => node("li", {}, node("a", { href, textContent: text, ...props }), ` ${state}`);
  $("runs").replaceChildren(
    ...all.tasks.filter((t) => t.state !== "ended").map((t) => item(`#tasks/${t.id}`, t.task, t.state === "asking" ? "waits for your answer" : "in work")),
    ...all.past.map((p) => node("li", {}, node("button", { textContent: p.task, onclick: () => openPast(p.id) }), ` ${p.started} ${p.stop ?? "not ended"}`)));
}

// openPast shows a past run in a tab of its own. It is fetched here, since a link sends no key.
async function openPast(id) {
  try {
    const html = await (await call(`/tasks/${encodeURIComponent(id)}/page`)).blob();
    open(URL.createObjectURL(html), "_blank", "noopener");
  } catch (err) { fail(err); }
}

$("task-form").addEventListener("submit", async (e) => {
  e.preventDefault();
  if (!$("task").value.trim()) return;
  try {
    const { id } = await (await call("/tasks", { task: $("task").value.trim() })).json();
    $("task").value = "";
    location.hash = `#tasks/${id}`;
  } catch (err) { fail(err); }
});
$("task-stop").addEventListener("click", () => watched && call(`/tasks/${watched.id}/stop`, {}).catch(fail));

async function openTask() {
  const id = location.hash.match(/^#tasks\/(\w+)$/)?.[1];
  if (!id || watched?.id === id) return;
  watched?.stop.abort();
  const mine = watched = { id, stop: new AbortController() };
  $("run").replaceChildren();
  $("task-stop").hidden = false;
  const view = new RunView(id);
  try {
    for await (const ev of events(await call(`/tasks/${id}/events`, null, mine.stop.signal))) follow($("run"), () => view.event(ev));
  } catch (err) { fail(err); }
  if (watched === mine) { $("task-stop").hidden = true; watched = { id, stop: mine.stop }; }
  listTasks().catch(fail);
}

// RunView shows the events of one run.
class RunView {
  constructor(id) { this.id = id; this.questions = new Map(); this.live = null; }

  add(className, who, text, ...more) {
    this.live = null;
    const a = node("article", { className }, node("p", { className: "who", textContent: who }), node("p", { textContent: text }), ...more);
    $("run").append(a);
    return a;
  }

  event(ev) {
    const of = ev.session ? ` (part ${ev.session})` : "";
    switch (ev.type) {
      case "session": return this.add("user", "Task", ev.task);
      case "delta": return this.delta(ev);
      case "note": return this.replaceLive("Note" + of, ev.text);
      case "call": return ev.final || this.replaceLive(`Step ${ev.step}${of}`, ev.command, node("pre", { textContent: fields(ev.content) }));
      case "command_result": return this.add(ev.failed ? "error" : "", `Result of ${ev.command}${of}`, "", node("pre", { textContent: ev.text }));
      case "approval": return ev.allowed || this.add("", "Not allowed", `${ev.command}: ${ev.reason ?? ""}`);
      case "warning": return this.add("", "Warning", ev.text);
      case "question": return this.ask(ev);
      case "decided": return this.settle(ev);
      case "result": return ev.session || this.result(ev);
      case "end": return ev.error && this.add("", "Error", ev.error);
    }
  }

  // delta shows a turn as it is written; what it comes to takes its place.
  delta(ev) {
    this.live ??= this.add("", "Writing", "");
    this.live.lastChild.textContent += ev.text;
  }

  replaceLive(who, text, ...more) {
    this.live?.remove();
    return this.add("", who, text, ...more);
  }

  ask(ev) {
    const answer = async (allow) => {
      try { await call(`/tasks/${this.id}/answer`, { question: ev.number, allow }); } catch (err) { fail(err); }
    };
    const may = ev.may_have_run ? " This call had begun when the run was cut off. It may have taken effect." : "";
    const allow = node("button", { textContent: "Allow", onclick: () => answer(true) });
    const refuse = node("button", { textContent: "Refuse", onclick: () => answer(false) });
    const a = this.add("asks", "May it do this?", `${ev.command} would ${ev.effect}.${may}`, diff(ev.shown), node("div", { className: "row" }, allow, refuse));
    this.questions.set(ev.number, a);
    if (!document.activeElement.matches("input, textarea")) refuse.focus({ preventScroll: true });
  }

  settle(ev) {
    const a = this.questions.get(ev.number);
    if (!a) return;
    a.className = "";
    a.lastChild.replaceWith(node("p", { textContent: ev.allowed ? "Allowed" : "Refused" }));
  }

  result(ev) {
    const u = ev.usage ?? {};
    const cost = `${ev.stop}; ${ev.steps} steps in ${(ev.wall_ms / 1000).toFixed(1)} s; ${u.evaluated_tokens} tokens evaluated, ${u.cached_tokens} from the cache, ${u.completion_tokens} written`;
    this.add("user", ev.stop === "answered" ? "Answer" : "Ended without an answer", ev.answer || ev.unmet || "", node("p", { className: "who", textContent: cost }));
  }
}

function fields(content) {
  return (content ?? []).map((entry) => Object.entries(entry).map(([k, v]) => `${k}: ${typeof v === "string" ? v : JSON.stringify(v)}`).join("\n")).join("\n\n");
}

// diff colours added and removed lines; it stays readable without colours.
function diff(text) {
  const pre = node("pre");
  for (const line of text.split("\n")) {
    const kind = line.startsWith("+") ? "add" : line.startsWith("-") ? "drop" : "";
    pre.append(node("span", { className: kind, textContent: line + "\n" }));
  }
  return pre;
}

show();
begin();
