// The origin of an answer: seconds, tokens, and attention maps.

import { $, create, percent, seconds } from "./drawing.js";

const STAGES = [
  ["imagining", "Imagining the future"], ["reading", "Reading the picture"], ["writing", "Writing the answer"],
];
const TOKENS = [["text", "Text"], ["image", "Image"], ["world", "World"], ["answer", "Answer"]];

export function showOrigin(answers, about) {
  const sides = ["without", "with"].filter((side) => side in answers);
  const cells = (of) => ["without", "with"].map((side) =>
    create("td", { className: "number" }, ...(answers[side] ? of(answers[side]) : ["–"])));
  const row = (name, of, className = "") =>
    create("tr", { className }, create("th", { scope: "row", textContent: name }), ...cells(of));
  const faint = (text) => create("span", { textContent: text });
  const spent = (answer) => answer.stages.reduce((sum, stage) => sum + (stage.remembered ? 0 : stage.seconds), 0);
  const took = (name) => sides.some((side) => answers[side].stages.some((stage) => stage.name === name));
  const rows = STAGES.filter(([name]) => took(name)).map(([name, title]) => row(title, (answer) => {
    const stage = answer.stages.find((other) => other.name === name);
    return !stage ? ["–"] : stage.remembered ? [faint("remembered")] : [seconds(stage.seconds)];
  }));
  rows.push(row("Total time", (answer) => [seconds(spent(answer))], "total"));
  TOKENS.forEach(([name, title], number) => rows.push(
    row(`${title} tokens`, ({ tokens }) => [tokens[name] ? String(tokens[name]) : "–"], number ? "" : "first")));
  $("stages").replaceChildren(...rows);
  const before = answers.with?.stages.filter((stage) => stage.remembered) ?? [];
  $("remembered").textContent = before.length
    ? `The picture was remembered from the question before: ${seconds(spent(answers.with))} instead of `
      + `${seconds(spent(answers.with) + before.reduce((sum, stage) => sum + stage.seconds, 0))} with the world.`
    : "The next question about this picture is faster: the server keeps the encoded picture.";
  const enter = about.fusion === "tokens" ? "enter as extra tokens before the question, without a gate"
    : `are added to the picture's tokens through a gate of ${about.gate?.toPrecision(3)} (0: closed)`;
  $("reading").textContent = about.has_world
    ? `Tap ${about.tap}: ${about.tap_reads}. World features ${enter}.` : "This model has no world.";
  $("origin").hidden = false;
}

export function showAttention({ image, slots, num_past }, picture, frames, about) {
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
  $("maps").replaceChildren(figure("picture", image, picture),
    ...slots.map((grid, slot) => figure(when(slot), grid, frames?.[4 * slot])));
  const rest = 1 - sum(image) - slots.reduce((all, grid) => all + sum(grid), 0);
  $("attention-said").textContent = "Attention of the position that predicts the answer's first token, averaged over "
    + `layers and heads; a stronger colour is more attention. The other ${percent(rest)} go to text and markers.`;
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
    const [left, right] = [x, x + 1].map((edge) => Math.round(edge * side / row.length));
    const [top, bottom] = [y, y + 1].map((edge) => Math.round(edge * side / grid.length));
    pen.fillRect(left, top, right - left, bottom - top);
  }));
}
