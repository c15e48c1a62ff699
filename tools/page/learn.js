// The update, and what the generation in service learnt.

import { $, element, percent, send, shows, state, sure, tell } from "./box.js";

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
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
  $("doubted").hidden = running || !now?.held_back.length;
  if (now === null) { tell("outcome", ""); return; }
  $("held-back").textContent = `Held back, as it looks like something else: ${now.held_back.join(", ")}.`;
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
$("insist").addEventListener("click", async () => {
  if (await sure("Learn it although it looks like something else? It serves only if the solver can tell the two apart.")) await send("insist");
});

// What the generation in service learnt

let shownResult = "";
let settled = 0; // how often somebody accepted or rolled back

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

shows(update);
shows(result);
