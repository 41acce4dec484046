// The page: choose a picture, ask, and show the events of the answers.

import { changes, imaginedBefore, listenToChanges, resetChanges, sayChanges, showTry } from "./changes.js";
import { $, create, framesOf, isCalm, paint, say, seconds } from "./drawing.js";
import { film, showFuture } from "./film.js";
import { showAttention, showOrigin } from "./origin.js";
import { eventsOf, send, upload } from "./requests.js";

const TASKS = {
  drop: "A ball over bins", topple: "A tower of blocks", roll: "Two balls on planks", collide: "Two moving balls",
  hide: "A ball and a screen",
};
const DOING = {
  imagining: "The world model imagines the future", drawing: "Drawing the imagined future",
  reading: "Reading the picture", writing: "Writing the answer",
};

const UNREADABLE = /\.hei[cf]$/i; // what telephones write and browsers cannot show either

let about = null;
let chosen = null; // the server's description of the picture
let asking = null; // the AbortController of the running question
let choosing = 0; // number of the last choice; replies to earlier choices are dropped

// --- pictures --------------------------------------------------------------------------------------------

// `scene` names a simulated scene, whatever is changed in it; empty: a visitor's own picture.
async function choose(described, caption, scene = "") {
  const mine = ++choosing;
  asking?.abort();
  $("picture-error").textContent = "";
  $("go").disabled = true;
  try {
    const picture = await described;
    const frames = await framesOf(picture.strip, picture.num_frames);
    if (mine !== choosing) return;
    const before = chosen;
    chosen = { ...picture, frames, scene };
    showChosen(caption, before);
  } catch (error) {
    if (mine !== choosing) return;
    showNone();
    $("picture-error").textContent = error.message;
  } finally {
    if (mine === choosing) {
      $("sending").textContent = "";
      $("go").disabled = false;
    }
  }
}

// Take the picture and its answers away: what is shown is what will be asked about.
function showNone() {
  chosen = null;
  const shown = $("shown");
  shown.getContext("2d").clearRect(0, 0, shown.width, shown.height);
  shown.setAttribute("aria-label", "No picture yet");
  $("frames").hidden = $("results").hidden = true;
  $("caption").textContent = "No picture yet.";
}

function showChosen(caption, before) {
  const { frames, questions, note, scene } = chosen;
  paint($("shown"), frames.at(-1));
  $("shown").setAttribute("aria-label", caption);
  $("frames").replaceChildren(...(frames.length > 1 ? frames : []));
  $("frames").hidden = frames.length < 2;
  const clip = frames.length > 1 ? `The world model sees ${frames.length} frames, Gemma the last.` : "";
  $("caption").textContent = [`${caption}.`, note, clip].filter(Boolean).join(" ");
  $("results").hidden = true;
  const asked = $("question").value;
  if (scene && scene === before?.scene) return; // the same scene, changed: what was asked stays
  if (questions.length) {
    $("question").value = questions[0].text;
    setSteps(chosen.num_world_steps);
  } else if (before?.questions.some(({ text }) => text === asked)) {
    $("question").value = ""; // the question was about a scene; a visitor's own text stays
  }
}

function chooseScene() {
  const [task, number] = [$("task").value, Number($("number").value)];
  const name = `Scene ${number}: ${TASKS[task][0].toLowerCase()}${TASKS[task].slice(1)}`;
  return choose(sceneOf(task, number, changes()), name, `${task} ${number}`);
}

function chooseAnotherScene() {
  resetChanges();
  return chooseScene();
}

async function changeScene() {
  await chooseScene();
  if (chosen) ask();
}

async function sceneOf(task, number, changed = {}) {
  return (await send("scene", { task, number, ...changed })).json();
}

async function chooseFiles(files) {
  files = [...files];
  if (!files.length) return;
  setSource("own");
  showNone();
  const name = files.length > 1 ? `${files.length} pictures` : files[0].name || "Pasted";
  await choose(described(files), name);
}

async function described(files) {
  const total = files.reduce((sum, file) => sum + file.size, 0);
  if (total > about.max_bytes) {
    const megabytes = (total / 1e6).toFixed(1);
    throw new Error(`${megabytes} MB: send at most ${about.max_bytes / 1e6} MB, a smaller picture or a shorter clip.`);
  }
  const strange = files.find(({ name }) => UNREADABLE.test(name));
  if (strange) throw new Error(`${strange.name}: HEIC pictures are not read; save it as JPEG or PNG first.`);
  $("sending").textContent = "Reading the file …";
  const contents = await Promise.all(files.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }))
    .map(async (file) => base64(new Uint8Array(await file.arrayBuffer()))));
  return upload("picture", { files: contents }, (share) => {
    $("sending").textContent = share < 1 ? `Sending, ${Math.round(100 * share)} % …` : "The server reads it …";
  });
}

function base64(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(text);
}

function setSource(source) {
  document.querySelector(`[name=source][value=${source}]`).checked = true;
  $("of-scene").hidden = source !== "scene";
  $("of-own").hidden = $("answers-scope").hidden = source !== "own";
}

// --- settings --------------------------------------------------------------------------------------------

function setSteps(wanted) {
  const { least, most, usual } = about.steps;
  $("steps").value = Math.min(Math.max(wanted ?? usual, least), most);
  saySteps();
}

function saySteps() {
  const steps = Number($("steps").value);
  say("steps", steps === 0 ? "the present only"
    : `${steps} ${steps === 1 ? "step" : "steps"}, ${(steps * about.seconds_per_step).toFixed(1)} s`);
}

function sayNumber() {
  say("number", `${$("number").value} of ${about.num_scenes}`);
}

// --- asking ----------------------------------------------------------------------------------------------

async function ask() {
  if (asking) { asking.abort(); return; }
  if (!chosen) { $("ask-error").textContent = "Choose a picture first."; return; }
  if (!$("question").value.trim()) { $("ask-error").textContent = "Write a question."; $("question").focus(); return; }
  const mine = asking = new AbortController();
  $("ask-error").textContent = "";
  $("go").textContent = "Stop";
  const results = { answers: {}, question: $("question").value.trim() };
  clearResults();
  try {
    const { question } = results;
    const body = { picture_id: chosen.picture_id, question, num_world_steps: Number($("steps").value) };
    for await (const event of eventsOf(await send("ask", body, mine.signal))) {
      mine.signal.throwIfAborted(); // also drops events that arrived before the abort
      await show(event, results);
    }
  } catch (error) {
    if (error.name !== "AbortError") $("ask-error").textContent = error.message;
    $("status").textContent = error.name === "AbortError" ? "Stopped." : "";
  } finally {
    document.querySelectorAll(".said.busy").forEach((text) => text.classList.remove("busy"));
    if (asking === mine) asking = null;
    $("go").textContent = "Ask";
  }
}

function clearResults() {
  film.stop();
  for (const id of ["future", "origin", "attention", "others", "tries"]) $(id).hidden = true;
  $("results").hidden = false;
  $("status").textContent = "Waiting …";
  for (const side of ["without", "with"]) {
    const [text, mark] = $(`side-${side}`).querySelectorAll("p");
    text.replaceChildren();
    text.className = "said busy";
    mark.textContent = "";
    mark.className = "mark";
  }
  $("truth").replaceChildren();
  if ($("results").getBoundingClientRect().top > innerHeight - 120) {
    $("results").scrollIntoView({ block: "start", behavior: isCalm() ? "auto" : "smooth" });
  }
}

async function show(event, results) {
  switch (event.is) {
    case "waiting":
      $("status").textContent = event.place === 1 ? "You are next …" : `Number ${event.place} in the queue …`;
      break;
    case "stage":
      $("status").textContent = `${DOING[event.name]} …`;
      break;
    case "piece": {
      const text = $(`side-${event.side}`).querySelector(".said");
      text.append(event.text);
      text.classList.toggle("long", text.textContent.length > 60);
      break;
    }
    case "answer":
      showAnswer(event);
      results.answers[event.side] = event;
      showOrigin(results.answers, about);
      break;
    case "future":
      results.film = await showFuture(event, (imagined) => imaginedBefore(chosen.scene, imagined));
      break;
    case "attention":
      showAttention(event, chosen.frames.at(-1), results.film, about);
      break;
    case "error":
      throw new Error(event.sentence);
    case "done":
      $("status").textContent = `Done in ${seconds(event.seconds)}.`;
      showTruth(results.question);
      if (chosen.scene) showTry(chosen.scene, results.question, results.answers, truthOf(results.question));
      showOthers(results.question);
  }
}

function showAnswer({ side, text, is_cut, right }) {
  const [shown, mark] = $(`side-${side}`).querySelectorAll("p");
  shown.textContent = text || "(nothing)";
  shown.classList.remove("busy");
  mark.textContent = { true: "✓ right", false: "✗ wrong" }[right] ?? "";
  if (is_cut) mark.textContent += " · cut at the length limit";
  mark.classList.add({ true: "right", false: "wrong" }[right] ?? "unknown");
}

function truthOf(question) {
  return chosen.questions.find(({ text }) => text === question)?.answer;
}

function showTruth(question) {
  const truth = truthOf(question);
  $("truth").replaceChildren(...(truth ? ["The truth: ", create("b", { textContent: truth })] : []));
}

function showOthers(question) {
  const others = chosen.questions.filter(({ text }) => text !== question);
  $("others").hidden = !others.length;
  const buttons = others.map(({ text }) => create("button", {
    type: "button", textContent: `${text.split(/[:?]/)[0]}?`,
    onclick: () => { $("question").value = text; ask(); },
  }));
  $("others").replaceChildren(create("span", { textContent: "Ask also:" }), ...buttons);
}

// --- examples --------------------------------------------------------------------------------------------

async function showExamples() {
  const examples = await Promise.all(about.tasks.map(async (task, place) => {
    const number = place + 2;
    const { strip, num_frames } = await sceneOf(task, number);
    const picture = (await framesOf(strip, num_frames)).at(-1);
    return create("button", { type: "button", onclick: () => chooseExample(task, number) }, picture, TASKS[task] ?? task);
  }));
  $("examples").replaceChildren(...examples);
}

function chooseExample(task, number) {
  setSource("scene");
  $("task").value = task;
  $("number").value = number;
  sayNumber();
  return chooseAnotherScene();
}

// --- start -----------------------------------------------------------------------------------------------

function showAbout() {
  $("model").textContent = about.model;
  $("task").replaceChildren(...about.tasks.map((task) =>
    create("option", { value: task, textContent: TASKS[task] ?? task })));
  $("number").max = about.num_scenes;
  Object.assign($("steps"), { min: about.steps.least, max: about.steps.most });
  $("ahead").hidden = about.steps.most === about.steps.least;
  $("question").maxLength = about.max_question_characters;
  $("side-with").hidden = !about.has_world;
  document.querySelector(".answers").classList.toggle("alone", !about.has_world);
  const { finding, sentence, command, details } = about.verdict;
  $("verdict-tag").textContent = finding === "undecided" ? "world use undecided" : finding;
  $("verdict-tag").className = finding.replaceAll(" ", "-");
  $("verdict-said").textContent = sentence;
  $("verdict-details").textContent = details;
  $("verdict-command").textContent = command ?? "";
  $("verdict-command").hidden = !command;
  $("verdict-how").hidden = Boolean(command) || !about.has_world;
  $("verdict-tag").hidden = $("verdict").hidden = false;
  for (const text of document.querySelectorAll(".scope")) text.textContent = about.scope;
  sayNumber();
  sayChanges();
  setSteps(null);
}

function listen() {
  $("form").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  $("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("form").requestSubmit();
  });
  $("steps").addEventListener("input", saySteps);
  $("number").addEventListener("input", sayNumber);
  $("another").addEventListener("click", () => {
    $("number").value = 1 + Math.floor(Math.random() * about.num_scenes);
    sayNumber();
    chooseAnotherScene();
  });
  for (const id of ["task", "number"]) $(id).addEventListener("change", chooseAnotherScene);
  listenToChanges(changeScene);
  document.querySelectorAll("[name=source]").forEach((radio) => radio.addEventListener("change", () => {
    setSource(radio.value);
    if (radio.value === "scene") chooseScene();
    else { choosing++; asking?.abort(); showNone(); $("files").value = ""; $("picture-error").textContent = ""; }
  }));
  $("files").addEventListener("change", () => chooseFiles($("files").files));
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) { event.preventDefault(); chooseFiles(event.clipboardData.files); }
  });
  const hasFiles = (event) => event.dataTransfer.types.includes("Files"); // text can be dragged into the question
  document.addEventListener("dragover", (event) => {
    if (hasFiles(event)) { event.preventDefault(); $("drop").classList.add("over"); }
  });
  document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    $("drop").classList.remove("over");
    chooseFiles(event.dataTransfer.files);
  });
  $("play").addEventListener("click", () => (film.timer ? film.stop() : film.play()));
  $("time").addEventListener("input", () => { film.stop(); film.go(Number($("time").value)); });
}

try {
  about = await (await send("about")).json();
  showAbout();
  listen();
  await chooseScene();
  await showExamples();
} catch (error) {
  $("picture-error").textContent = error.message;
}
