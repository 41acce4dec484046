// The imagined and the true future as animations, in step with each other.

import { $, framesOf, isCalm, paint, say } from "./drawing.js";

export const film = {
  frames: { imagined: [], before: [], true: [] }, count: 0, given: 1, rate: 1, timer: 0,

  load(event, imagined, before, real) {
    Object.assign(this, { frames: { imagined, before, true: real }, count: event.num_frames, given: event.num_given,
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
      const frame = frames[Math.min(number, frames.length - 1)]; // the true future can be shorter
      if (frame) paint(document.querySelector(`#film-${name} canvas`), frame);
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

// Show the futures; `before` takes the imagined frames, and returns those of the same scene before a change, or null.
export async function showFuture(event, before) {
  const imagined = await framesOf(event.imagined, event.num_frames);
  const real = await framesOf(event.true, event.num_true);
  const given = await framesOf(event.given, event.num_given);
  $("future").hidden = event.num_frames === event.num_given;
  $("film-imagined").hidden = !imagined.length;
  $("film-true").hidden = !real.length;
  const earlier = before(imagined);
  $("film-before").hidden = !earlier?.frames.length;
  document.querySelector("#film-before figcaption").textContent = `Imagined before: ${earlier?.changed}`;
  $("unseen").hidden = !event.sentence;
  $("unseen").textContent = event.sentence ? `The imagined future is hidden: ${event.sentence}.` : "";
  document.querySelector("#film-imagined canvas").setAttribute("aria-label", "The imagined future, as an animation");
  document.querySelector("#film-before canvas").setAttribute("aria-label", "The future imagined before the change");
  document.querySelector("#film-true canvas").setAttribute("aria-label", "The true future, as an animation");
  document.querySelector(".player").hidden = !imagined.length && !real.length;
  film.load(event, imagined, earlier?.frames ?? [], real);
  return imagined.length ? imagined : given;
}
