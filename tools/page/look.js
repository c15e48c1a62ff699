// What the camera sees: the newest frame, what the solver makes of it, and the part that it looks at.

import { $, element, pause, percent, send, shows, state } from "./box.js";

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

shows(() => {
  $("no-frame").hidden = state.seen.length > 0;
  $("speed").textContent = state.seen.length
    ? `${state.rate.toFixed(0)} frames a second, ${state.milliseconds.toFixed(0)} ms each` : "";
  bars();
  region();
});

function bars() {
  $("seen").replaceChildren(...state.seen.map(([label, share]) => {
    const bar = element("div", "", { className: "bar" });
    const part = element("i");
    part.style.setProperty("--part", `${100 * share}%`);
    bar.append(element("span", label, { title: label }), element("span", percent(share)), part);
    return bar;
  }));
}

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

watch();
