// A helper (chapter 7): how fast it makes an ill-conditioned main agent, and what damping is for.
"use strict";

(() => {
  const { draw, set, fixed, scientific, power, line, dots } = widgets;
  const [DIMENSION, STEP, LARGEST] = [8, 0.4, 1.75]; // as in the chapter: eta s_max = 0.7
  const DRAWN = [3, 0, -3, -6, -9, -12]; // powers of ten of the error
  const NEAR = 1e-6;
  const figure = widgets.frame("helper", {
    title: "The helper",
    numbers: {
      alone: "[muted] error alone",
      helped: "[third] error with the helper",
      turns: "turns to 10^−6, alone",
      turnsHelped: "turns to 10^−6, helped",
      factor: "slowest factor a turn, alone",
      factorHelped: "slowest factor a turn, helped",
      safe: "damping that is surely safe",
    },
    goal:
      "The helper takes the main agent’s geometry for less than half of what it is. " +
      "Find a damping with which it is still quick.",
    conditions: [
      "the condition number is at least 100",
      "the helper’s estimate is at most 0.4 of the truth",
      "the error with the helper is below 10^−6 after at most 60 turns",
    ],
  });

  const area = widgets.canvas(
    figure.plot,
    {
      label: "Error of the main agent after each turn",
      height: (width) => Math.round(Math.max(270, 0.5 * width)),
    },
    update,
  );
  const { svg } = area;
  set(svg, { role: "img" });
  const clip = draw(draw(svg, "clipPath", { id: "explorable-helper-clip" }), "rect");
  const grid = draw(svg, "path", { class: "grid" });
  const ticks = draw(svg, "g", { class: "ticks", "aria-hidden": "true" });
  const level = draw(svg, "path", { class: "limit" });
  const inside = draw(svg, "g", { "clip-path": "url(#explorable-helper-clip)" });
  const kinds = { alone: "muted", helped: "third" };
  const curves = {},
    marks = {},
    names = {};
  for (const [kind, look] of Object.entries(kinds)) {
    curves[kind] = draw(inside, "path", { class: `curve ${look}` });
    marks[kind] = draw(inside, "path", { class: `messages ${look}` });
    names[kind] = draw(
      svg,
      "text",
      { class: "name", "aria-hidden": "true", "text-anchor": "end" },
      kind === "alone" ? "alone" : "with the helper",
    );
  }
  const warning = widgets.make("p", { class: "warning" });
  figure.plot.append(warning);
  figure.plot.classList.add("low"); // what runs away does so at the top

  const integer = (value) => Math.round(value).toLocaleString("en").replaceAll(",", " ");
  const slider = (id, label, min, max, step, start, text, value) =>
    widgets.slider(figure.controls, { id: `helper-${id}`, label, min, max, step, start, text, value }, update);
  const controls = {
    kappa: slider("kappa", "condition number κ of the main agent", 0, 4, 0.05, 2, integer, (p) => 10 ** p),
    damping: slider(
      "damping",
      "damping λ of the helper",
      -4.05,
      1,
      0.05,
      -2,
      (v) => (v ? scientific(v) : "0, a plain Newton step"),
      (p) => (p < -4.01 ? 0 : 10 ** p),
    ),
    estimate: slider(
      "estimate",
      "the helper’s estimate, as a part of the truth",
      -0.7,
      0.7,
      0.02,
      0,
      (v) => `× ${fixed(v, 2)}`,
      (p) => 10 ** p,
    ),
    turns: slider("turns", "turns", 5, 200, 1, 60, String),
  };
  figure.onReset(controls, update);

  // The first turn from which the error stays near enough, null if a turn does not shrink it.
  function needed(eigenvalues, helper, worst) {
    if (!(worst < 1)) return null;
    const norm = (turn) =>
      Math.hypot(
        ...eigenvalues.map((s) => (1 - STEP * s) * Math.abs(dynamics.roundFactor(s, STEP, helper)) ** (turn - 1)),
      ) / Math.sqrt(eigenvalues.length);
    let [low, high] = [0, 1];
    while (norm(high) > NEAR) [low, high] = [high, 2 * high];
    while (high - low > 1) {
      const half = (low + high) >> 1;
      if (norm(half) > NEAR) low = half;
      else high = half;
    }
    return high;
  }

  function update() {
    if (!area.width) return;
    const { width, height } = area;
    const turns = controls.turns.value;
    const helper = { damping: controls.damping.value, estimate: controls.estimate.value };
    const eigenvalues = dynamics.spectrum(DIMENSION, LARGEST, controls.kappa.value);
    const company = { alone: null, helped: helper };

    const x = widgets.scale([0, turns], [50, width - 14]);
    const y = widgets.scale([DRAWN.at(-1), DRAWN[0]], [height - 42, 12]);
    const every = [1, 2, 5, 10, 20, 50].find((step) => turns / step <= 10);
    set(clip, { x: 40, y: 2, width: width - 40, height: height - 42 });
    set(grid, { d: DRAWN.map((v) => `M${x(0)} ${y(v)}H${x(turns)}`).join("") });
    set(level, { d: `M${x(0)} ${y(Math.log10(NEAR))}H${x(turns)}` });
    widgets.label(ticks, [
      ...DRAWN.map((v) => [x(0) - 7, y(v) + 4, "end", v ? power(v) : "1"]),
      ...Array.from({ length: Math.floor(turns / every) + 1 }, (_, i) => [
        x(i * every),
        height - 23,
        "middle",
        String(i * every),
      ]),
      [(x(0) + x(turns)) / 2, height - 5, "middle", "turn"],
    ]);

    const last = {},
      worst = {},
      wait = {};
    for (const kind of Object.keys(kinds)) {
      const errors = dynamics.mainErrors(eigenvalues, STEP, turns, company[kind]);
      const points = errors.map((error, turn) => [
        x(turn),
        y(Math.max(error > 0 ? Math.log10(error) : -Infinity, 2 * DRAWN.at(-1))),
      ]);
      set(curves[kind], { d: line(points) });
      set(marks[kind], { d: turns > 100 ? "" : dots(points) });
      last[kind] = errors.at(-1);
      worst[kind] = Math.max(...eigenvalues.map((s) => Math.abs(dynamics.roundFactor(s, STEP, company[kind]))));
      wait[kind] = needed(eigenvalues, company[kind], worst[kind]);
      const beside = points.filter(([px]) => px > width - 120).map(([, py]) => py); // the name is as long as that
      set(names[kind], { x: x(turns) - 2, y: widgets.clamp(Math.min(...beside) - 9, 22, height - 54) });
    }
    // Two names at one place would hide each other.
    const [one, other] = ["alone", "helped"].map((kind) => Number(names[kind].getAttribute("y")));
    if (Math.abs(one - other) < 17) set(names.helped, { y: other + (other < one ? 0 : 34) });

    const count = (turn) => (turn === null ? "never" : integer(turn));
    const size = (error) => (error < 1e-15 ? "below 10^−15" : scientific(error));
    figure.show({
      alone: size(last.alone),
      helped: size(last.helped),
      turns: count(wait.alone),
      turnsHelped: count(wait.helped),
      factor: fixed(worst.alone, 4),
      factorHelped: fixed(worst.helped, 4),
      safe: fixed(dynamics.safeDamping(eigenvalues, helper.estimate), 3),
    });
    const reached = figure.judge([
      [controls.kappa.value >= 99.99, integer(controls.kappa.value)],
      [helper.estimate <= 0.4, `× ${fixed(helper.estimate, 2)}`],
      [wait.helped !== null && wait.helped <= 60, wait.helped === null ? "never" : `${count(wait.helped)} turns`],
    ]);
    const unstable = !(worst.helped < 1);
    warning.hidden = !unstable;
    warning.textContent = unstable
      ? `Unstable: a turn multiplies one part of the error by ${fixed(worst.helped, 2)}. ` +
        "The helper overshoots and makes things worse than no help. Add damping."
      : "";
    figure.say(
      `After ${turns} turns the error is ${size(last.alone)} alone and ${size(last.helped)} with the helper. ` +
        `Turns to one in a million: ${count(wait.alone)} alone, ${count(wait.helped)} with the helper. ` +
        `${unstable ? "Unstable. " : ""}Goal ${reached ? "reached" : "not reached"}.`,
    );
  }

  area.start();
})();
