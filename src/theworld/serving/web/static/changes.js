// Changes of a simulated scene: the sliders, and how answers and the imagined future differ from those before.

import { $, create, say } from "./drawing.js";

const percent = (value) => `${Math.round(100 * value)} %`;
const pixels = (value) => (value === 0 ? "in place" : `${Math.abs(value)} px to the ${value > 0 ? "left" : "right"}`);
const SLIDERS = {
  light: { usual: 1, field: "light", words: percent },
  camera: { usual: 0, field: "camera_px", words: pixels },
  zoom: { usual: 1, field: "zoom", words: percent },
  gravity: { usual: 1, field: "gravity", words: percent },
};

const tries = { scene: "", question: "", rows: new Map(), film: null };

// The fields of a request for the scene as the sliders have it.
export function changes() {
  return Object.fromEntries(Object.entries(SLIDERS).map(([id, { field }]) => [field, Number($(id).value)]));
}

// The changed sliders in words; empty: the scene is as it was.
export function changesInWords() {
  return Object.entries(SLIDERS).filter(([id, { usual }]) => Number($(id).value) !== usual)
    .map(([id, { words }]) => `${id} ${words(Number($(id).value))}`).join(", ");
}

export function sayChanges() {
  for (const [id, { words }] of Object.entries(SLIDERS)) say(id, words(Number($(id).value)));
  $("changed-said").textContent = changesInWords();
}

export function resetChanges() {
  for (const [id, { usual }] of Object.entries(SLIDERS)) $(id).value = usual;
  sayChanges();
}

export function listenToChanges(onChange) {
  for (const id of Object.keys(SLIDERS)) {
    $(id).addEventListener("input", sayChanges);
    $(id).addEventListener("change", onChange);
  }
  $("unchange").addEventListener("click", () => { resetChanges(); onChange(); });
}

// Keep the answers to one question about one scene, changed in different ways, as rows of a table.
export function showTry(scene, question, answers, truth) {
  if (tries.scene !== scene || tries.question !== question) Object.assign(tries, { scene, question, rows: new Map() });
  const changed = changesInWords() || "as it was";
  const cell = (answer) => create("td", {
    textContent: answer?.text ?? "–", className: { true: "right", false: "wrong" }[answer?.right] ?? "",
  });
  tries.rows.delete(changed);
  tries.rows.set(changed, create("tr", {}, create("th", { scope: "row", textContent: changed }),
    cell(answers.without), cell(answers.with), create("td", { textContent: truth ?? "–" })));
  $("tried").replaceChildren(...tries.rows.values());
  $("tries").hidden = tries.rows.size < 2;
}

// Return the frames imagined before for the same scene under another change, and remember the present ones.
export function imaginedBefore(scene, frames) {
  const [before, changed] = [tries.film, changesInWords() || "as it was"];
  tries.film = { scene, changed, frames };
  return scene && before?.scene === scene && before.changed !== changed ? before : null;
}
