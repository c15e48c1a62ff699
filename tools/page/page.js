// The page: asks the box for its state and its newest frame, shows both, and says what somebody does. No other origin.

const $ = (id) => document.getElementById(id);
const HOLD_AFTER = 350; // milliseconds after which a press is a hold
const RENEW = 500; // a hold ends on the box unless it is renewed, so that a lost page keeps nothing
const LOST = "the box does not answer";
const OTHER = "reverie serve was started again: open the address that it printed";
let state = null;
let shownResult = "";
let settled = 0; // how often somebody accepted or rolled back

async function send(path, body = {}) {
  let says = LOST;
  try {
    const answer = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    says = answer.status === 403 ? OTHER : (await answer.json()).says;
  } catch { /* it is not there: LOST */ }
  tell("says", says);
  if (says === "" && path !== "hold") await refresh();
  return says === "";
}

function tell(id, text) { // a screen reader speaks whatever is set, changed or not
  if ($(id).textContent !== text) $(id).textContent = text;
}

function element(tag, text = "", properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  if (text !== "") made.textContent = text;
  return made;
}

const percent = (share) => (share === null || share === undefined ? "–" : `${Math.round(100 * share)}\u00a0%`);
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

// Frames

async function watch() {
  let number = 0;
  for (;;) {
    const began = performance.now();
    try {
      const answer = await fetch(`frame.jpg?after=${number}`);
      if (answer.status === 200) {
        number = Number(answer.headers.get("X-Frame"));
        const before = $("frame").src;
        $("frame").src = URL.createObjectURL(await answer.blob());
        await $("frame").decode().catch(() => {});
        if (before) URL.revokeObjectURL(before);
      } else if (!answer.ok) await pause(1000);
    } catch { await pause(1000); }
    await pause(Math.max(0, 66 - (performance.now() - began)));
    while (document.hidden) await pause(300);
  }
}

const pause = (milliseconds) => new Promise((resume) => setTimeout(resume, milliseconds));

// State

async function refresh() {
  const answer = await fetch("state").catch(() => null);
  if (answer?.ok) {
    state = await answer.json();
    show();
  } else {
    tell("camera", answer?.status === 403 ? OTHER : LOST);
    $("camera").className = "lost";
  }
}

async function follow() {
  for (;;) {
    await refresh();
    await pause(250);
  }
}

function show() {
  tell("generation", `generation ${state.generation}`);
  tell("camera", `camera: ${state.camera.says}`);
  $("camera").className = state.camera.name;
  $("no-frame").hidden = state.seen.length > 0;
  $("speed").textContent = state.seen.length
    ? `${state.rate.toFixed(0)} frames a second, ${state.milliseconds.toFixed(0)} ms each` : "";
  bars();
  classes();
  asking();
  kept();
  region();
  update();
  result();
}

function bars() {
  $("seen").replaceChildren(...state.seen.map(([label, share]) => {
    const bar = element("div", "", { className: "bar" });
    const part = element("i");
    part.style.setProperty("--part", `${100 * share}%`);
    bar.append(element("span", label, { title: label }), element("span", percent(share)), part);
    return bar;
  }));
}

function classes() {
  const holder = $("classes");
  const there = new Map([...holder.children].map((button) => [button.dataset.label, button]));
  state.labels.forEach((label, at) => {
    let button = there.get(label);
    if (!button) {
      button = element("button", "", { type: "button" });
      button.dataset.label = label;
      button.append(element("kbd"), element("b", label, { title: label }), element("small"));
      press(button, label);
      holder.append(button);
    }
    there.delete(label);
    const [key, , small] = button.children;
    key.textContent = at < 9 ? at + 1 : "";
    const aside = state.set_aside[label] ? `, ${state.set_aside[label]} not kept` : "";
    small.textContent = state.counts[label] || aside ? `${state.counts[label] ?? 0} frames${aside}` : "";
    button.classList.toggle("suggested", label === state.suggested);
    button.setAttribute("aria-pressed", label === state.holding);
  });
  there.forEach((button) => button.remove());
}

function asking() {
  $("asking").hidden = state.asking === null;
  const source = `asked.jpg?number=${state.asking}`;
  if (state.asking !== null && !$("asked").src.endsWith(source)) $("asked").src = source;
}

let lastKept = 0;
let trouble = "";
function kept() {
  const last = state.last;
  if (last && last.at !== lastKept) {
    lastKept = last.at;
    $("last").textContent = last.reason === null ? `Kept as ${last.label}.` : `Not kept as ${last.label}: ${last.reason}.`;
    $("last").className = last.reason === null ? "good" : "bad";
    if (last.reason === null) {
      $("picture").classList.add("kept");
      setTimeout(() => $("picture").classList.remove("kept"), 150);
    }
  }
  if (state.trouble !== trouble) tell("says", trouble = state.trouble);
}

// Keeping frames: a press keeps one, a longer one keeps on until it ends

let held = null;
let holds = Promise.resolve();
const inTurn = (path, body) => { holds = holds.then(() => send(path, body)); }; // no release before what it ends

function begin(label) {
  if (held) return;
  if (state.asking !== null) { send("answer", { label }); return; }
  held = { label, timer: 0 };
  send("keep", { label });
  const renew = () => { inTurn("hold", { label }); held.timer = setTimeout(renew, RENEW); };
  held.timer = setTimeout(renew, HOLD_AFTER);
}

function end() {
  if (!held) return;
  clearTimeout(held.timer);
  held = null;
  inTurn("release");
}

function press(button, label) {
  button.addEventListener("pointerdown", (event) => {
    if (event.button === 0) { button.setPointerCapture(event.pointerId); begin(label); }
  });
  for (const over of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) button.addEventListener(over, end);
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  button.addEventListener("keydown", (event) => {
    if ((event.key === " " || event.key === "Enter") && !event.repeat) { event.preventDefault(); event.stopPropagation(); begin(label); }
  });
  button.addEventListener("keyup", (event) => { if (event.key === " " || event.key === "Enter") end(); });
  button.addEventListener("click", (event) => { // of a screen reader, which presses nothing
    if (event.detail === 0 && !held && !event.pointerType) { begin(label); end(); }
  });
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, dialog, summary");
  if (typing || event.repeat || event.ctrlKey || event.altKey || event.metaKey || !state) return;
  if (/^[1-9]$/.test(event.key) && state.labels[event.key - 1]) begin(state.labels[event.key - 1]);
  else if (event.key === "Enter" && !event.target.closest("button") && state.suggested) { begin(state.suggested); end(); }
  else if (event.key === "Escape" && state.asking !== null) send("answer", { label: null });
});
document.addEventListener("keyup", (event) => { if (/^[1-9]$/.test(event.key)) end(); });
window.addEventListener("blur", end);

$("new").addEventListener("submit", async (event) => {
  event.preventDefault();
  const label = $("name").value.trim();
  if (!label) return;
  $("name").value = ""; // at once: the next name may be typed before the box has answered
  const named = await send("name", { label });
  if ($("name").value !== "") return;
  if (named) document.querySelector(`#classes [data-label="${CSS.escape(label)}"]`)?.focus();
  else $("name").value = label;
});
$("skip").addEventListener("click", () => send("answer", { label: null }));

// The part of the picture that is looked at

function scale() {
  const image = $("frame").getBoundingClientRect();
  const [width, height] = state.size;
  const shown = Math.min(image.width / width, image.height / height);
  return { shown, left: (image.width - width * shown) / 2, top: (image.height - height * shown) / 2 };
}

function region(area = state.region) {
  $("whole").hidden = !state.region;
  $("region").hidden = !area || !state.size;
  if (!area || !state.size) return;
  const at = scale();
  const [left, top, width, height] = area.map((pixels) => pixels * at.shown);
  Object.assign($("region").style, {
    left: `${left + at.left}px`, top: `${top + at.top}px`, width: `${width}px`, height: `${height}px`,
  });
}

let choosing = false;
function choose(now) { // until then the picture scrolls with the page under a finger
  choosing = now;
  $("picture").classList.toggle("choosing", now);
  $("part").setAttribute("aria-pressed", now);
}
$("part").addEventListener("click", () => choose(!choosing));

$("picture").addEventListener("pointerdown", (down) => {
  if (!state?.size || down.button !== 0 || !choosing) return;
  $("picture").setPointerCapture(down.pointerId);
  const bounds = $("frame").getBoundingClientRect();
  const at = scale();
  const place = (event) => [
    Math.min(Math.max((event.clientX - bounds.left - at.left) / at.shown, 0), state.size[0]),
    Math.min(Math.max((event.clientY - bounds.top - at.top) / at.shown, 0), state.size[1]),
  ];
  const [x, y] = place(down);
  let area = null;
  const move = (event) => {
    const [u, v] = place(event);
    area = [Math.min(x, u), Math.min(y, v), Math.abs(u - x), Math.abs(v - y)].map(Math.floor);
    region(area);
  };
  const up = () => {
    $("picture").removeEventListener("pointermove", move);
    if (area && area[2] >= 16 && area[3] >= 16) send("region", { region: area });
    choose(false);
  };
  $("picture").addEventListener("pointermove", move);
  $("picture").addEventListener("lostpointercapture", up, { once: true });
});
$("whole").addEventListener("click", () => send("region", { region: null }));

// The update

const STAGES = { // which of the method's six; reading the frames comes before them
  frames: "", replay: "1", "fine-tune": "2", synthesis: "3 and 4", retrain: "5", "generative update": "6",
};

function update() {
  const now = state.update;
  const running = now !== null && now.outcome === null;
  const stored = Object.values(state.counts).reduce((sum, count) => sum + count, 0);
  const focus = [$("update"), $("stop")].includes(document.activeElement);
  $("update").hidden = running;
  $("update").disabled = stored === 0 && !state.unfinished;
  $("stop").hidden = !running;
  if (focus) $(running ? "stop" : "update").focus(); // not on a button that is gone
  $("progress").hidden = now === null;
  $("ready").textContent = running ? "" : state.unfinished ? "An update was interrupted: it goes on where it was." : stored
    ? `${stored} frames are ready to be learnt.` : "Keep frames of something first: at least five of each.";
  if (now === null) { tell("outcome", ""); return; }
  $("stage").textContent = !running ? "" : STAGES[now.stage] ? `Stage ${STAGES[now.stage]} of 6: ${now.stage}` : now.stage;
  $("left").textContent = running && now.left !== null ? (now.left < 5 ? "a few seconds left" : `${clock(now.left)} left`) : "";
  $("share").hidden = !running;
  $("share").value = now.share;
  $("losses").replaceChildren(...Object.keys(STAGES).filter((stage) => now.losses[stage]).map((stage) => curve(stage, now.losses[stage])));
  tell("outcome", {
    "in service": "Learnt: the result is in service.", rejected: `Refused, and the one before serves on: ${now.says}`,
    failed: `It failed, and nothing was changed: ${now.says}`, stopped: "Stopped.",
  }[now.outcome] ?? "");
}

function curve(stage, losses) {
  const figure = element("figure");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  const low = Math.min(...losses), high = Math.max(...losses);
  const y = (loss) => (high > low ? 2 + 36 * (high - loss) / (high - low) : 20);
  line.setAttribute("points", losses.map((loss, at) => `${100 * at / Math.max(losses.length - 1, 1)},${y(loss)}`).join(" "));
  svg.setAttribute("viewBox", "0 0 100 40");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `loss of ${stage}, from ${losses[0].toFixed(3)} to ${losses.at(-1).toFixed(3)}`);
  svg.append(line);
  figure.append(svg, element("figcaption", `${stage} ${losses.at(-1).toFixed(2)}`));
  return figure;
}

$("update").addEventListener("click", () => send("update"));
$("stop").addEventListener("click", () => send("stop"));

// What the generation in service learnt

async function result() {
  const key = `${state.generation} ${settled} ${state.update?.outcome}`;
  if (key === shownResult) return;
  shownResult = key;
  const answer = await fetch("result").catch(() => null);
  if (!answer?.ok) { shownResult = ""; return; } // asked for again
  const shown = await answer.json();
  $("result").hidden = shown.classes.length === 0;
  $("learnt").replaceChildren(...shown.classes.map((row) => {
    const line = element("tr");
    const two = element("div", "", { className: "two" });
    for (const share of [row.before, row.after]) {
      const part = element("i");
      part.style.setProperty("--part", `${100 * (share ?? 0)}%`);
      two.append(part);
    }
    const last = element("td");
    last.append(two);
    line.append(element("td", row.label), element("td", row.before === null ? "new" : percent(row.before)),
      element("td", percent(row.after)), last);
    return line;
  }));
  $("kept").textContent = shown.agreement === null ? ""
    : `Of what it knew before, it agrees with the one before in ${percent(shown.agreement)} of generated inputs.`;
  $("accept").hidden = !shown.on_probation;
  $("back").hidden = shown.parent === null;
  for (const picture of ["generated", "synthesised"]) {
    $(`${picture}-figure`).hidden = !shown[picture];
    if (shown[picture]) $(picture).src = `${picture}.png?generation=${state.generation}`;
  }
  $("no-pictures").hidden = !shown.features;
}

$("accept").addEventListener("click", async () => { await send("accept", { generation: state.generation }); settled += 1; });
$("back").addEventListener("click", async () => {
  const { generation } = state;
  if (await sure("Go back to the generation before this one?")) { await send("roll-back", { generation }); settled += 1; }
});

function sure(question) {
  $("question").textContent = question;
  $("sure").returnValue = "no";
  $("sure").showModal();
  return new Promise((answer) => $("sure").addEventListener("close", () => answer($("sure").returnValue === "yes"), { once: true }));
}

// Frames and history

async function past() {
  const answer = await fetch("past").catch(() => null);
  if (!answer?.ok) return;
  const { history, frames } = await answer.json();
  $("history").replaceChildren(...history.map((entry) => {
    const line = element("li");
    line.append(element("time", entry.at), ` ${entry.says}`);
    return line;
  }));
  $("stored").replaceChildren(...Object.entries(frames).map(([label, { to_learn, learnt, set_aside }]) => {
    const line = element("li");
    const reasons = Object.entries(set_aside).map(([reason, count]) => `${count} ${reason}`).join(", ");
    const told = [`${to_learn} to learn`];
    if (learnt) told.push(`${learnt} learnt, kept until the update is accepted`);
    if (reasons) told.push(`set aside: ${reasons}`);
    const forget = element("button", "Forget", { type: "button" });
    forget.setAttribute("aria-label", `Forget all frames of ${label}`);
    forget.addEventListener("click", async () => {
      if (await sure(`Forget all frames of ${label}?`)) { await send("purge", { label }); past(); }
    });
    line.append(element("b", label), told.join("; "), forget);
    return line;
  }));
  $("purge-all").disabled = Object.keys(frames).length === 0;
}

$("frames").addEventListener("toggle", past);
$("purge-all").addEventListener("click", async () => {
  if (await sure("Forget all frames on this box?")) { await send("purge", { label: null }); past(); }
});
setInterval(() => { if ($("frames").open && !$("sure").open) past(); }, 3000);

follow();
watch();
