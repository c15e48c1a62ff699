// What things are: the classes, frames that are kept of them, and the frame that is asked about.

import { $, element, send, shows, state, tell } from "./box.js";

const HOLD_AFTER = 350; // milliseconds after which a press is a hold
const RENEW = 500; // a hold ends on the box unless it is renewed, so that a lost page keeps nothing

shows(() => {
  classes();
  asking();
  kept();
});

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
