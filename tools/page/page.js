// The page: its heading, its frames and history; the other parts are beside it.

import { $, element, pause, refresh, send, shows, state, sure, tell } from "./box.js";
import "./look.js";
import "./teach.js";
import "./learn.js";

shows(() => {
  tell("generation", `generation ${state.generation}`);
  tell("camera", `camera: ${state.camera.says}`);
  $("camera").className = state.camera.name;
});

async function follow() {
  for (;;) {
    await refresh();
    await pause(250);
  }
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
