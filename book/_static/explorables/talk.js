// Why talk at all (chapter 13): where two agents with noisy labels end, over and over, and the gap at which talking stops helping.
"use strict";

(() => {
  const { draw, set, fixed, percent, line, dots } = widgets;
  const SPREAD = 2 / (10 * 2.5); // tr S^-1 / n in the plane, of 10 examples with S = 2.5 I: error alone for noise 1
  const DRAWS = 150;
  const CHANGE = 0.1;
  const figure = widgets.frame("talk", {
    title: "Two estimates, one conversation",
    numbers: {
      aloneW: "[muted] W’s error alone",
      w: "[w] W’s after talking",
      gapW: "[w dash] gap up to which W gains",
      aloneU: "U’s error alone",
      u: "[u] U’s after talking",
      gapU: "[u dash] gap up to which U gains",
    },
    goal: "Find a conversation that helps W and harms U.",
    conditions: [
      "both agents keep the same part of their error",
      "W’s error is at least 10 % below its error alone",
      "U’s error is at least 10 % above its error alone",
    ],
  });
  const [plane, chart] = widgets.beside(
    figure.plot,
    "Where W ends, alone and after talking, with a handle for U’s target",
    "Errors against the gap",
    update,
  );

  const FAR = 3; // the widest gap
  const two = (value) => fixed(value, 2);
  const slider = (id, label, min, max, step, start) =>
    widgets.slider(figure.controls, { id: `talk-${id}`, label, min, max, step, start, text: two }, update);
  const controls = {
    gap: slider("gap", "gap between the targets", 0, FAR, 0.05, 1.8),
    keptW: slider("kept-w", "[w] part of its error that W keeps", 0.05, 0.95, 0.05, 0.6),
    keptU: slider("kept-u", "[u] part of its error that U keeps", 0.05, 0.95, 0.05, 0.6),
    noiseW: slider("noise-w", "[w] noise of W’s labels", 0, 4, 0.1, 2),
    noiseU: slider("noise-u", "[u] noise of U’s labels", 0, 4, 0.1, 2),
  };
  figure.onReset(controls, update);

  // Noise drawn once, from a seed: pairs of standard normal numbers by Box and Muller, of a linear congruential generator.
  let seed = 13;
  const uniform = () => {
    seed = (1664525 * seed + 1013904223) % 2 ** 32;
    return (seed + 0.5) / 2 ** 32;
  };
  const normal = () => {
    const [size, turn] = [Math.sqrt(-2 * Math.log(uniform())), 2 * Math.PI * uniform()];
    return [size * Math.cos(turn), size * Math.sin(turn)];
  };
  const drawn = Array.from({ length: DRAWS }, () => [normal(), normal()]);

  const alone = draw(plane.svg, "path", { class: "messages muted" });
  const talked = draw(plane.svg, "path", { class: "messages w" });
  const circles = {
    alone: draw(plane.svg, "circle", { class: "limit" }),
    talked: draw(plane.svg, "circle", { class: "curve w" }),
  };
  for (const circle of Object.values(circles)) set(circle, { fill: "none" });
  const own = draw(plane.svg, "g", { class: "now w" });
  draw(own, "circle", { r: 7 });
  const names = draw(plane.svg, "g", { "aria-hidden": "true" });
  const partner = widgets.handle(plane.svg, {
    id: "talk-target-u",
    label: "U’s target",
    drag: ([px]) => {
      controls.gap.position = widgets.clamp(across().inverse(px), 0, FAR);
      update();
    },
    press: ([right, up], large) => {
      controls.gap.position = widgets.clamp(controls.gap.value + (right || up) * (large ? 0.5 : 0.05), 0, FAR);
      update();
    },
  });
  const move = partner.grip("rect", { x: -8, y: -8, width: 16, height: 16, class: "u" });
  const across = () => widgets.scale([-1.4, FAR + 0.3], [0, plane.width]);

  const axes = draw(chart.svg, "path", { class: "grid" });
  const ticks = draw(chart.svg, "g", { class: "ticks", "aria-hidden": "true" });
  const parts = Object.fromEntries(
    ["u", "w"].map((who) => [
      who,
      {
        alone: draw(chart.svg, "path", { class: `zigzag ${who}` }),
        limit: draw(chart.svg, "path", { class: `limit ${who}` }),
        curve: draw(chart.svg, "path", { class: `curve ${who}` }),
        now: draw(chart.svg, "g", { class: `now ${who}` }),
      },
    ]),
  );
  draw(parts.w.now, "circle", { r: 7 });
  draw(parts.u.now, "rect", { x: -6.5, y: -6.5, width: 13, height: 13 });

  function drawPlane(gap, k, errors) {
    const x = across();
    const unit = x(1) - x(0);
    const at = ([a, b]) => [x(a), plane.height / 2 - unit * b];
    const ends = drawn.map(([mine, other]) => {
      const estimate = mine.map((value) => Math.sqrt(errors.aloneW / 2) * value);
      const heard = other.map((value, i) => Math.sqrt(errors.aloneU / 2) * value + (i ? 0 : gap));
      return { estimate, end: estimate.map((value, i) => (1 - k) * value + k * heard[i]) };
    });
    set(alone, { d: dots(ends.map(({ estimate }) => at(estimate))) });
    set(talked, { d: dots(ends.map(({ end }) => at(end))) });
    const [cx, cy] = at([0, 0]);
    set(circles.alone, { cx, cy, r: unit * Math.sqrt(errors.aloneW) });
    set(circles.talked, { cx, cy, r: unit * Math.sqrt(errors.w) });
    set(own, { transform: `translate(${cx} ${cy})` });
    move(at([gap, 0]));
    widgets.label(names, [
      [cx, cy + 26, "middle", "w*"],
      [x(gap), cy - 18, "middle", "u*"],
    ]);
    partner.tell({ now: gap, min: 0, max: FAR, text: `gap ${two(gap)}` });
  }

  function drawChart(gap, curves, errors) {
    const top = Math.max(0.4, Math.min(4, 1.6 * Math.max(errors.w, errors.u, errors.aloneW, errors.aloneU)));
    const unit = [0.1, 0.25, 0.5, 1].find((step) => top <= 5 * step) ?? 1;
    const x = widgets.scale([0, FAR], [46, chart.width - 14]);
    const y = widgets.scale([0, top], [chart.height - 42, 12]);
    const levels = Array.from({ length: Math.floor(top / unit) + 1 }, (_, i) => i * unit);
    set(axes, { d: levels.map((v) => `M${x(0)} ${y(v)}H${x(FAR)}`).join("") });
    widgets.label(ticks, [
      ...levels.map((v) => [x(0) - 7, y(v) + 4, "end", two(v)]),
      ...[0, 1, 2, 3].map((v) => [x(v), chart.height - 24, "middle", String(v)]),
      [(x(0) + x(FAR)) / 2, chart.height - 5, "middle", "gap between the targets"],
    ]);
    for (const [who, { error, alone, critical }] of Object.entries(curves)) {
      const points = Array.from({ length: 121 }, (_, i) => [(FAR * i) / 120, error((FAR * i) / 120)]);
      const inside = points.filter(([, value]) => value <= top);
      set(parts[who].curve, { d: line(inside.map(([a, b]) => [x(a), y(b)])) });
      set(parts[who].alone, { d: `M${x(0)} ${y(alone)}H${x(FAR)}` });
      const shows = critical > 0 && critical <= FAR;
      set(parts[who].limit, { d: shows ? `M${x(critical)} ${y(0)}V${y(alone)}` : "" });
      set(parts[who].now, { transform: `translate(${x(gap)} ${y(errors[who])})` });
    }
  }

  function update() {
    if (!plane.width || !chart.width) return;
    const gap = controls.gap.value;
    const V = { w: SPREAD * controls.noiseW.value ** 2, u: SPREAD * controls.noiseU.value ** 2 };
    const [a, b] = [controls.keptW.value, controls.keptU.value];
    const k = { w: dynamics.listening(a, b), u: dynamics.listening(b, a) };
    const curves = {};
    for (const [who, other] of ["wu", "uw"]) {
      const error = (at) => dynamics.talkError(k[who], V[who], V[other], at);
      curves[who] = { error, alone: V[who], critical: dynamics.criticalGap(k[who], V[who], V[other]) };
    }
    const errors = { aloneW: V.w, aloneU: V.u, w: curves.w.error(gap), u: curves.u.error(gap) };
    drawPlane(gap, k.w, errors);
    drawChart(gap, curves, errors);

    const three = (value) => fixed(value, 3);
    figure.show({
      aloneW: three(V.w),
      w: three(errors.w),
      gapW: three(curves.w.critical),
      aloneU: three(V.u),
      u: three(errors.u),
      gapU: three(curves.u.critical),
    });
    const change = (who) => (V[who] > 0 ? errors[who] / V[who] - 1 : errors[who] > 0 ? Infinity : 0);
    const reached = figure.judge([
      [a === b, `${two(a)} and ${two(b)}`],
      [change("w") <= -CHANGE, percent(change("w"))],
      [change("u") >= CHANGE, percent(change("u"))],
    ]);
    figure.say(
      `With a gap of ${two(gap)}, W's error is ${three(errors.w)} after talking and ${three(V.w)} alone; U's is ` +
        `${three(errors.u)} and ${three(V.u)}. Goal ${reached ? "reached" : "not reached"}.`,
    );
  }

  plane.start();
  chart.start();
})();
