// The page: chooses a picture, asks, and shows what comes back, event by event.

const $ = (id) => document.getElementById(id);
const create = (name, fields = {}, ...children) => {
  const made = Object.assign(document.createElement(name), fields);
  made.append(...children);
  return made;
};
const seconds = (value) => `${value.toFixed(value < 0.995 ? 2 : 1)} s`;
const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
const TASKS = {
  drop: "A ball over bins", topple: "A tower of blocks", roll: "Two balls on planks", collide: "Two moving balls",
  hide: "A ball and a screen",
};
const STAGES = [
  ["imagining", "Imagining the future"], ["reading", "Reading the picture"], ["writing", "Writing the answer"],
];
const TOKENS = [["text", "Text"], ["image", "Image"], ["world", "World"], ["answer", "Answer"]];
const DOING = {
  imagining: "The world model imagines what follows", drawing: "Drawing what was imagined",
  reading: "Reading the picture", writing: "Writing the answer",
};

let about = null;
let chosen = null; // what the server says of the picture
let asking = null; // an AbortController while a question is under way
let choosing = 0; // number of the last choice: answers to earlier ones are dropped

// --- talking to the server -------------------------------------------------------------------------------

async function send(path, body, signal) {
  let response;
  try {
    response = await fetch(path, body === undefined ? { signal } : {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal,
    });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error("The server cannot be reached. Is it still running?");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Error(told.sentence ?? `The server answered ${response.status}.`);
}

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part.slice("data: ".length));
  }
}

// --- pictures --------------------------------------------------------------------------------------------

async function framesOf(url, count) {
  if (!url) return [];
  const image = new Image();
  image.src = url;
  await image.decode();
  const width = image.naturalWidth / count;
  return Array.from({ length: count }, (_, number) => {
    const frame = create("canvas", { width, height: image.naturalHeight });
    frame.getContext("2d").drawImage(image, -number * width, 0);
    return frame;
  });
}

function paint(canvas, frame, { smooth = true } = {}) {
  Object.assign(canvas, { width: frame.width, height: frame.height });
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = smooth;
  pen.drawImage(frame, 0, 0);
}

async function choose(path, body, caption) {
  const mine = ++choosing;
  asking?.abort();
  $("picture-error").textContent = "";
  $("go").disabled = true;
  try {
    const found = await (await send(path, body)).json();
    if (mine !== choosing) return;
    chosen = { ...found, frames: await framesOf(found.strip, found.num_frames) };
    showChosen(caption);
  } catch (error) {
    if (mine === choosing) $("picture-error").textContent = error.message;
  } finally {
    if (mine === choosing) $("go").disabled = chosen === null;
  }
}

function showChosen(caption) {
  const { frames, questions, note } = chosen;
  paint($("shown"), frames.at(-1));
  $("shown").setAttribute("aria-label", caption);
  $("frames").replaceChildren(...(frames.length > 1 ? frames : []));
  $("frames").hidden = frames.length < 2;
  const clip = frames.length > 1 ? ` The world model sees all ${frames.length} frames, Gemma the last.` : "";
  $("caption").textContent = `${caption}.${clip}${note ? ` ${note}` : ""}`;
  $("results").hidden = true;
  if (questions.length) {
    $("question").value = questions[0].text;
    setSteps(chosen.num_world_steps);
  } else if (caption !== $("question").dataset.of) {
    $("question").value = "";
  }
}

function chooseScene() {
  const [task, number] = [$("task").value, Number($("number").value)];
  return choose("scene", { task, number }, `Scene ${number}: ${TASKS[task][0].toLowerCase()}${TASKS[task].slice(1)}`);
}

async function chooseFiles(files) {
  files = [...files];
  if (!files.length) return;
  setSource("own");
  const total = files.reduce((sum, file) => sum + file.size, 0);
  if (total > about.max_bytes) {
    $("picture-error").textContent =
      `${(total / 1e6).toFixed(1)} MB: send at most ${about.max_bytes / 1e6} MB, a smaller picture or a shorter clip.`;
    return;
  }
  const contents = await Promise.all(files.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }))
    .map(async (file) => base64(new Uint8Array(await file.arrayBuffer()))));
  await choose("picture", { files: contents }, files.length > 1 ? `${files.length} pictures` : files[0].name || "Pasted");
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
  $("of-own").hidden = source !== "own";
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

// The value of a slider in words, for eyes and for ears; a live region would speak without end.
function say(slider, words) {
  $(`${slider}-said`).textContent = words;
  $(slider).setAttribute("aria-valuetext", words);
}

// --- asking ----------------------------------------------------------------------------------------------

async function ask() {
  if (asking) { asking.abort(); return; }
  if (!chosen) { $("ask-error").textContent = "Choose a picture first."; return; }
  if (!$("question").value.trim()) { $("ask-error").textContent = "Write a question."; $("question").focus(); return; }
  const mine = asking = new AbortController();
  $("ask-error").textContent = "";
  $("go").textContent = "Stop";
  const said = { answers: {}, question: $("question").value.trim() };
  clearResults();
  try {
    const body = { picture_id: chosen.picture_id, question: said.question, num_world_steps: Number($("steps").value) };
    for await (const event of eventsOf(await send("ask", body, mine.signal))) await show(event, said);
  } catch (error) {
    if (error.name !== "AbortError") $("ask-error").textContent = error.message;
    $("status").textContent = error.name === "AbortError" ? "Stopped." : "";
  } finally {
    document.querySelectorAll(".said.busy").forEach((one) => one.classList.remove("busy"));
    if (asking === mine) asking = null;
    $("go").textContent = "Ask";
  }
}

function clearResults() {
  film.stop();
  for (const id of ["future", "origin", "attention", "others"]) $(id).hidden = true;
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

async function show(event, said) {
  switch (event.is) {
    case "waiting":
      $("status").textContent = event.place === 1 ? "You are next …" : `Number ${event.place} in the line …`;
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
      said.answers[event.side] = event;
      showOrigin(said.answers);
      break;
    case "future":
      said.film = await showFuture(event);
      break;
    case "attention":
      showAttention(event, said.film);
      break;
    case "error":
      throw new Error(event.sentence);
    case "done":
      $("status").textContent = `Done in ${seconds(event.seconds)}.`;
      showTruth(said.question);
      showOthers(said.question);
  }
}

function showAnswer({ side, text, is_cut, right }) {
  const [shown, mark] = $(`side-${side}`).querySelectorAll("p");
  shown.textContent = text || "(nothing)";
  shown.classList.remove("busy");
  mark.textContent = { true: "✓ right", false: "✗ wrong" }[right] ?? "";
  if (is_cut) mark.textContent += " · cut at the longest answer";
  mark.classList.add({ true: "right", false: "wrong" }[right] ?? "unknown");
}

function showTruth(question) {
  const known = chosen.questions.find((one) => one.text === question);
  $("truth").replaceChildren(...(known ? ["The truth: ", create("b", { textContent: known.answer })] : []));
}

function showOthers(question) {
  const others = chosen.questions.filter((one) => one.text !== question);
  $("others").hidden = !others.length;
  $("others").replaceChildren(create("span", { textContent: "Ask also:" }), ...others.map((one) => create("button", {
    type: "button", textContent: `${one.text.split(/[:?]/)[0]}?`,
    onclick: () => { $("question").value = one.text; ask(); },
  })));
}

// --- the future ------------------------------------------------------------------------------------------

const film = {
  frames: { imagined: [], true: [] }, count: 0, given: 1, rate: 1, timer: 0,

  load(event, imagined, real) {
    Object.assign(this, { frames: { imagined, true: real }, count: event.num_frames, given: event.num_given,
      rate: event.frame_rate_hz });
    $("time").max = this.count - 1;
    this.go(0);
    if (isCalm()) this.stop(); else this.play();
  },
  go(number) {
    $("time").value = number;
    const after = (number - this.given + 1) / this.rate;
    say("time", after < 0 ? `${(-after).toFixed(2)} s before` : after === 0 ? "now" : `${after.toFixed(2)} s later`);
    for (const [name, frames] of Object.entries(this.frames)) {
      if (frames.length) paint(document.querySelector(`#film-${name} canvas`), frames[Math.min(number, frames.length - 1)]);
    }
  },
  play() {
    this.stop();
    $("play").textContent = "Pause";
    const step = () => {
      const next = (Number($("time").value) + 1) % this.count;
      this.go(next);
      this.timer = setTimeout(step, next === this.count - 1 ? 1200 : 1000 / this.rate);
    };
    this.timer = setTimeout(step, 1000 / this.rate);
  },
  stop() {
    clearTimeout(this.timer);
    this.timer = 0;
    $("play").textContent = "Play";
  },
};

async function showFuture(event) {
  const imagined = await framesOf(event.imagined, event.num_frames);
  const real = await framesOf(event.true, event.num_true);
  const given = await framesOf(event.given, event.num_given);
  $("future").hidden = event.num_frames === event.num_given;
  $("film-imagined").hidden = !imagined.length;
  $("film-true").hidden = !real.length;
  $("unseen").hidden = !event.sentence;
  $("unseen").textContent = event.sentence ? `What it imagined is not shown: ${event.sentence}.` : "";
  document.querySelector("#film-imagined canvas").setAttribute("aria-label", "The imagined future, as an animation");
  document.querySelector("#film-true canvas").setAttribute("aria-label", "The true future, as an animation");
  document.querySelector(".player").hidden = !imagined.length && !real.length;
  film.load(event, imagined, real);
  return imagined.length ? imagined : given;
}

// --- where the answer came from --------------------------------------------------------------------------

function showOrigin(answers) {
  const sides = ["without", "with"].filter((side) => side in answers);
  const cells = (of) => ["without", "with"].map((side) => create("td", { className: "number" }, ...(answers[side] ? of(answers[side]) : ["–"])));
  const row = (name, of, className = "") =>
    create("tr", { className }, create("th", { scope: "row", textContent: name }), ...cells(of));
  const faint = (text) => create("span", { textContent: text });
  const spent = (one) => one.stages.reduce((sum, stage) => sum + (stage.remembered ? 0 : stage.seconds), 0);
  const rows = STAGES.filter(([name]) => sides.some((side) => answers[side].stages.some((stage) => stage.name === name)))
    .map(([name, title]) => row(title, (one) => {
      const stage = one.stages.find((each) => each.name === name);
      return !stage ? ["–"] : stage.remembered ? [faint("remembered")] : [seconds(stage.seconds)];
    }));
  rows.push(row("Time in all", (one) => [seconds(spent(one))], "total"));
  TOKENS.forEach(([name, title], number) => rows.push(
    row(`${title} tokens`, (one) => [one.tokens[name] ? String(one.tokens[name]) : "–"], number ? "" : "first")));
  $("stages").replaceChildren(...rows);
  const before = answers.with?.stages.filter((stage) => stage.remembered) ?? [];
  $("remembered").textContent = before.length
    ? `The picture was remembered from the question before: ${seconds(spent(answers.with))} instead of `
      + `${seconds(spent(answers.with) + before.reduce((sum, stage) => sum + stage.seconds, 0))} with the world.`
    : "The next question about this picture will be faster: what was seen is remembered.";
  const fused = about.fusion === "tokens" ? "as tokens of their own before the question, so there is no gate"
    : `added to the picture's tokens through a gate of ${about.gate.toPrecision(3)} (0 is shut)`;
  $("reading").textContent = about.has_world
    ? `Tap ${about.tap}: ${about.tap_reads}. World features enter ${fused}.` : "This model has no world.";
  $("origin").hidden = false;
}

function showAttention({ image, slots, num_past }, frames) {
  const sum = (grid) => grid.flat().reduce((all, share) => all + share, 0);
  const peak = Math.max(...[image, ...slots].flat(2));
  const figure = (name, grid, frame) => {
    const canvas = create("canvas");
    heat(canvas, grid, frame, peak);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Heat map, ${name}: ${percent(sum(grid))} of the attention`);
    return create("figure", {}, canvas,
      create("figcaption", {}, create("b", { textContent: percent(sum(grid)) }), ` ${name}`));
  };
  const when = (slot) => {
    const after = (slot - num_past) * about.seconds_per_step;
    return after === 0 ? "world, now" : `world, ${after > 0 ? "+" : "−"}${Math.abs(after).toFixed(1)} s`;
  };
  $("maps").replaceChildren(figure("picture", image, chosen.frames.at(-1)),
    ...slots.map((grid, slot) => figure(when(slot), grid, frames?.[4 * slot])));
  const rest = 1 - sum(image) - slots.reduce((all, grid) => all + sum(grid), 0);
  $("attention-said").textContent = "Attention of the position that chooses the answer's first word, mean over layers and "
    + `heads; the stronger the colour, the more. The other ${percent(rest)} lie on words and markers.`;
  $("attention").hidden = false;
}

function heat(canvas, grid, frame, peak) {
  const side = 192;
  Object.assign(canvas, { width: side, height: side });
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#8a8f94";
  pen.fillRect(0, 0, side, side);
  if (frame) {
    pen.filter = "grayscale(1) contrast(.75) brightness(1.1)";
    pen.imageSmoothingEnabled = frame.width > side;
    pen.drawImage(frame, 0, 0, side, side);
    pen.filter = "none";
  }
  grid.forEach((row, y) => row.forEach((share, x) => {
    pen.fillStyle = `rgba(222, 78, 22, ${(0.85 * share / peak).toFixed(3)})`;
    const [left, top] = [Math.round(x * side / row.length), Math.round(y * side / grid.length)];
    pen.fillRect(left, top, Math.round((x + 1) * side / row.length) - left, Math.round((y + 1) * side / grid.length) - top);
  }));
}

// --- the whole -------------------------------------------------------------------------------------------

function showAbout() {
  $("model").textContent = about.model;
  $("task").replaceChildren(...about.tasks.map((task) => create("option", { value: task, textContent: TASKS[task] ?? task })));
  $("number").max = about.num_scenes;
  Object.assign($("steps"), { min: about.steps.least, max: about.steps.most });
  $("ahead").hidden = about.steps.most === about.steps.least;
  $("question").maxLength = about.max_question_characters;
  $("side-with").hidden = !about.has_world;
  document.querySelector(".answers").classList.toggle("alone", !about.has_world);
  const { finding, sentence, command } = about.verdict;
  $("verdict-tag").textContent = finding === "undecided" ? "world use undecided" : finding;
  $("verdict-tag").className = finding.replaceAll(" ", "-");
  $("verdict-said").textContent = sentence;
  $("verdict-command").textContent = command ?? "";
  $("verdict-command").hidden = !command;
  $("verdict-how").hidden = Boolean(command) || !about.has_world;
  $("verdict-tag").hidden = $("verdict").hidden = false;
  sayNumber();
  setSteps(null);
}

function listen() {
  $("form").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  $("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); $("form").requestSubmit(); }
  });
  $("steps").addEventListener("input", saySteps);
  $("number").addEventListener("input", sayNumber);
  $("another").addEventListener("click", () => {
    $("number").value = 1 + Math.floor(Math.random() * about.num_scenes);
    sayNumber();
    chooseScene();
  });
  for (const id of ["task", "number"]) $(id).addEventListener("change", chooseScene);
  document.querySelectorAll("[name=source]").forEach((radio) => radio.addEventListener("change", () => {
    setSource(radio.value);
    if (radio.value === "scene") chooseScene();
  }));
  $("files").addEventListener("change", () => chooseFiles($("files").files));
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) { event.preventDefault(); chooseFiles(event.clipboardData.files); }
  });
  document.addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
  document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
  document.addEventListener("drop", (event) => {
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
} catch (error) {
  $("picture-error").textContent = error.message;
}
