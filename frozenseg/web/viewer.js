// Names under the pointer: reads what viewer.py wrote. `element` is gradio's element around it, which
// stays when its content is replaced, so every listener is on it and looks up what is there now.
const labelMaps = new WeakMap();

function labelMap(stage) {
  if (!labelMaps.has(stage)) {
    const ids = new Uint16Array(stage.dataset.width * stage.dataset.height);
    const runs = stage.dataset.runs.split(",");
    for (let i = 0, at = 0; i < runs.length; i += 2) {
      ids.fill(+runs[i], at, (at += +runs[i + 1]));
    }
    labelMaps.set(stage, ids);
  }
  return labelMaps.get(stage);
}

// Darkens all but one segment; 0 shows the overlay as it is.
function light(result, id) {
  const stage = result.querySelector(".fs-stage");
  if (stage.dataset.lit === String(id)) return;
  stage.dataset.lit = id;
  const canvas = stage.querySelector("canvas");
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (const button of result.querySelectorAll("button[data-id]")) {
    button.classList.toggle("fs-lit", +button.dataset.id === id);
  }
  if (!id) return;
  const ids = labelMap(stage);
  const pixels = context.createImageData(canvas.width, canvas.height);
  const words = new Uint32Array(pixels.data.buffer);
  for (let i = 0; i < ids.length; i++) if (ids[i] !== id) words[i] = 0x99000000;
  context.putImageData(pixels, 0, 0);
}

function pinned(result) {
  const button = result.querySelector('button[aria-pressed="true"]');
  return button ? +button.dataset.id : 0;
}

function point(stage, event) {
  const result = stage.closest(".fs-result");
  const box = stage.getBoundingClientRect();
  const { width, height } = stage.dataset;
  const x = Math.floor(((event.clientX - box.left) / box.width) * width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * height);
  const inside = x >= 0 && y >= 0 && x < width && y < height;
  const id = inside ? labelMap(stage)[y * width + x] : 0;
  const tip = stage.querySelector(".fs-tip");
  const named = JSON.parse(result.dataset.names)[id];
  light(result, id || pinned(result));
  tip.hidden = !named;
  if (!named) return;
  tip.textContent = named[0];
  const score = document.createElement("b");
  score.textContent = named[1];
  tip.append(score);
  const left = event.clientX - box.left;
  const top = event.clientY - box.top;
  tip.style.left = `${Math.min(Math.max(left - tip.offsetWidth / 2, 4), Math.max(4, box.width - tip.offsetWidth - 4))}px`;
  tip.style.top = `${top > tip.offsetHeight + 22 ? top - tip.offsetHeight - 16 : top + 22}px`;
}

function leave(result) {
  result.querySelector(".fs-tip").hidden = true;
  light(result, pinned(result));
}

const within = (event, selector) => event.target.closest?.(selector);

for (const kind of ["pointermove", "pointerdown"]) {
  element.addEventListener(kind, (event) => {
    const stage = within(event, ".fs-stage");
    if (stage) point(stage, event);
  });
}
element.addEventListener("pointerdown", (event) => {
  const result = element.querySelector(".fs-result");
  if (result && !within(event, ".fs-stage")) leave(result);
});
// A finger that is lifted leaves too, but what it tapped should stay to be read.
element.addEventListener("pointerout", (event) => {
  const stage = within(event, ".fs-stage");
  if (stage && event.pointerType === "mouse" && !stage.contains(event.relatedTarget)) {
    leave(stage.closest(".fs-result"));
  }
});
for (const [kind, on] of [["mouseover", 1], ["focusin", 1], ["mouseout", 0], ["focusout", 0]]) {
  element.addEventListener(kind, (event) => {
    const button = within(event, "button[data-id]");
    if (!button) return;
    const result = button.closest(".fs-result");
    light(result, on ? +button.dataset.id : pinned(result));
  });
}
element.addEventListener("click", (event) => {
  const button = within(event, "button[data-id]");
  if (!button) return;
  const result = button.closest(".fs-result");
  const press = button.getAttribute("aria-pressed") !== "true";
  for (const each of result.querySelectorAll("button[data-id]")) {
    each.setAttribute("aria-pressed", String(press && each === button));
  }
  light(result, pinned(result));
});
element.addEventListener("input", (event) => {
  const slider = within(event, ".fs-opacity");
  if (!slider) return;
  const overlay = slider.closest(".fs-viewer").querySelector(".fs-overlay");
  overlay.style.opacity = slider.value / 100;
});
// Where the picture is below the controls, the result is brought into sight.
watch("value", () => {
  if (!element.querySelector(".fs-result") || window.innerWidth > 768) return;
  element.querySelector(".fs-status").scrollIntoView({ behavior: "smooth", block: "start" });
});
