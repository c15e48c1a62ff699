// What all parts of the page share: the box is asked and told, its newest state is shown. No other origin.

const LOST = "the box does not answer";
const OTHER = "reverie serve was started again: open the address that it printed";
export let state = null; // the newest that the box has told
const shown = [];

export function shows(part) { // called at each new state
  shown.push(part);
}

export const $ = (id) => document.getElementById(id);

export async function send(path, body = {}) {
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

export function tell(id, text) { // a screen reader speaks whatever is set, changed or not
  if ($(id).textContent !== text) $(id).textContent = text;
}

export function element(tag, text = "", properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  if (text !== "") made.textContent = text;
  return made;
}

export const percent = (share) => (share === null || share === undefined ? "–" : `${Math.round(100 * share)}\u00a0%`);
export const pause = (milliseconds) => new Promise((resume) => setTimeout(resume, milliseconds));

export async function refresh() {
  const answer = await fetch("state").catch(() => null);
  if (answer?.ok) {
    state = await answer.json();
    for (const part of shown) part();
  } else {
    tell("camera", answer?.status === 403 ? OTHER : LOST);
    $("camera").className = "lost";
  }
}

export function sure(question) {
  $("question").textContent = question;
  $("sure").returnValue = "no";
  $("sure").showModal();
  return new Promise((answer) => $("sure").addEventListener("close", () => answer($("sure").returnValue === "yes"), { once: true }));
}
