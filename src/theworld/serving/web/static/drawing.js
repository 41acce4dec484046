// Shared by all parts of the page: elements, formatted numbers, and frames.

export const $ = (id) => document.getElementById(id);
export const create = (name, fields = {}, ...children) => {
  const element = Object.assign(document.createElement(name), fields);
  element.append(...children);
  return element;
};
export const seconds = (value) => `${value.toFixed(value < 0.995 ? 2 : 1)}\u00a0s`;
export const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
export const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)}\u00a0%`;

// Cut a strip of frames into one canvas per frame.
export async function framesOf(url, count) {
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

export function paint(canvas, frame) {
  Object.assign(canvas, { width: frame.width, height: frame.height });
  canvas.getContext("2d").drawImage(frame, 0, 0);
}

// Show the value of a slider in words, also to screen readers; a live region would announce every step.
export function say(slider, words) {
  $(`${slider}-said`).textContent = words;
  $(slider).setAttribute("aria-valuetext", words);
}
