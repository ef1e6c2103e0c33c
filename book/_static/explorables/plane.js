// Two agents in the plane (chapter 4): their targets, geometries and steps, and where the exchange ends.
"use strict";

(() => {
  const { make, draw, set, fixed, percent, clamp, line, dots } = widgets;
  const REACH = 2; // of the plane shown, to the left and right of 0
  const LEVEL = 0.16; // an ellipse is where (v - target)' S (v - target) has this value
  const EIGENVALUES = [0.1, 2.5];
  const TURNS = 60;
  const DEGREE = Math.PI / 180;
  // The numbers of figure 04-plane.
  const START = () => ({
    w: { target: [-1, 0.5], angle: 70 * DEGREE, eigenvalues: [1.8, 0.4] },
    u: { target: [1, 0.5], angle: -35 * DEGREE, eigenvalues: [1.6, 0.4] },
    start: [-0.6, -1.2],
  });
  const WINS = 0.05; // W's error, of the gap
  const KEEPS = 0.5; // U's error, of the gap
  const PULLS = 0.5; // U's step times its largest eigenvalue

  let state = START();
  const figure = widgets.frame("plane", {
    title: "Two agents in the plane",
    numbers: {
      gap: "gap ‖Δ‖",
      errorW: "[w] W’s error ‖e_W‖",
      errorU: "[u] U’s error ‖e_U‖",
      rate: "contraction ρ(AB)",
      w: "[w ring] W rests at w_∞",
      u: "[u ring] U rests at u_∞",
    },
    goal: "Make W win while U keeps more than half the gap as its error, although U pulls.",
    conditions: [
      "W’s error is below 5 % of the gap",
      "U’s error is above 50 % of the gap",
      "U’s step × its larger eigenvalue is at least 0.5",
    ],
  });

  const area = widgets.canvas(
    figure.plot,
    {
      label: "The plane of two weights, with handles to move",
      height: (width) => Math.round(width * (width < 500 ? 0.95 : 0.72)),
    },
    update,
  );
  const { svg } = area;
  const clip = draw(draw(svg, "clipPath", { id: "explorable-plane-clip" }), "rect");
  const grid = draw(svg, "path", { class: "grid" });
  const inside = draw(svg, "g", { "clip-path": "url(#explorable-plane-clip)" });
  const ellipses = {};
  for (const who of ["w", "u"]) ellipses[who] = draw(inside, "path", { class: `ellipse ${who}` });
  const zigzag = draw(inside, "path", { class: "zigzag" });
  const sent = {},
    gaveUp = {},
    rests = {};
  for (const who of ["w", "u"]) {
    sent[who] = draw(inside, "path", { class: `messages ${who}` });
    gaveUp[who] = draw(inside, "path", { class: `error ${who}` });
    rests[who] = draw(inside, "g", { class: `rest ${who}` });
    draw(rests[who], ...(who === "w" ? ["circle", { r: 8 }] : ["rect", { x: -7, y: -7, width: 14, height: 14 }]));
  }
  const warning = make("p", { class: "warning" });
  figure.plot.append(warning);

  let x, y; // scales
  const bound = () => y.inverse(0);
  const pixels = ([a, b]) => [x(a), y(b)];
  const plane = ([px, py]) => [x.inverse(px), y.inverse(py)];

  // Points to drag: both targets and the start.
  function movable(id, label, get, grip, mark) {
    const place = (point) => {
      const at = get();
      at[0] = clamp(point[0], -REACH, REACH);
      at[1] = clamp(point[1], -bound(), bound());
      update();
    };
    const item = widgets.handle(svg, {
      id: `plane-${id}`,
      label,
      drag: (point) => place(plane(point)),
      press: ([right, up], large) =>
        place([get()[0] + right * (large ? 0.25 : 0.05), get()[1] + up * (large ? 0.25 : 0.05)]),
    });
    const move = item.grip(...grip);
    const text = draw(item.group, "text", { class: "name", "aria-hidden": "true" }, mark);
    return () => {
      const at = get();
      const [px, py] = pixels(at);
      move([px, py]);
      set(text, { x: px, y: py + (py < 40 ? 27 : -15) });
      item.tell({
        now: at[0].toFixed(2),
        min: -REACH,
        max: REACH,
        text: `${fixed(at[0], 2)} across, ${fixed(at[1], 2)} up`,
      });
    };
  }

  // The axes of an ellipse: each has a grip at both ends, which turns both axes and stretches its own.
  function axis(who, index) {
    const name = who.toUpperCase();
    const agent = () => state[who];
    const turned = () => agent().angle + (index * Math.PI) / 2;
    const stretch = (eigenvalue) => {
      agent().eigenvalues[index] = clamp(eigenvalue, ...EIGENVALUES);
    };
    const item = widgets.handle(svg, {
      id: `plane-axis-${who}-${index + 1}`,
      label: `${name}’s geometry, axis ${index + 1}`,
      drag(point) {
        const [a, b] = plane(point).map((entry, i) => entry - agent().target[i]);
        const length = Math.hypot(a, b);
        if (length < 1e-9) return;
        agent().angle = Math.atan2(b, a) - (index * Math.PI) / 2;
        stretch(LEVEL / length ** 2);
        update();
      },
      press([right, up], large) {
        agent().angle -= right * (large ? 15 : 3) * DEGREE;
        stretch(agent().eigenvalues[index] + up * (large ? 0.25 : 0.05));
        update();
      },
    });
    const grip = who === "w" ? ["circle", { r: 5.5 }] : ["rect", { x: -5, y: -5, width: 10, height: 10 }];
    set(item.group, { class: `handle axis ${who}` });
    const ends = [item.grip(...grip), item.grip(...grip)];
    return () => {
      const { target, eigenvalues } = agent();
      const length = Math.sqrt(LEVEL / eigenvalues[index]);
      const direction = [length * Math.cos(turned()), length * Math.sin(turned())];
      ends.forEach((end, i) => end(pixels(target.map((entry, k) => entry + (i ? -1 : 1) * direction[k]))));
      const degrees = Math.round((((turned() / DEGREE) % 180) + 180) % 180) % 180;
      item.tell({
        now: eigenvalues[index].toFixed(2),
        min: EIGENVALUES[0],
        max: EIGENVALUES[1],
        text: `eigenvalue ${fixed(eigenvalues[index], 2)}, direction ${degrees} degrees`,
      });
    };
  }

  const handles = [
    axis("w", 0),
    axis("w", 1),
    axis("u", 0),
    axis("u", 1),
    movable(
      "start",
      "First message",
      () => state.start,
      ["path", { d: "M0-8L8 0L0 8L-8 0Z", class: "start" }],
      "start",
    ),
    movable("target-w", "Target of W", () => state.w.target, ["circle", { r: 9, class: "w" }], "w*"),
    movable(
      "target-u",
      "Target of U",
      () => state.u.target,
      ["rect", { x: -8, y: -8, width: 16, height: 16, class: "u" }],
      "u*",
    ),
  ];

  const step = (who) =>
    widgets.slider(
      figure.controls,
      {
        id: `plane-step-${who}`,
        label: `[${who}] step of ${who.toUpperCase()}, η_${who.toUpperCase()}`,
        min: 0.02,
        max: 2,
        step: 0.02,
        start: 0.4,
        text: (value) => fixed(value, 2),
      },
      update,
    );
  const steps = { w: step("w"), u: step("u") };
  const turns = widgets.slider(
    figure.controls,
    {
      id: "plane-turns",
      label: "rounds shown",
      min: 0,
      max: TURNS,
      step: 1,
      start: TURNS,
      text: (value) => String(value),
    },
    update,
  );
  const play = make("button", { type: "button", class: "play" }, "Play the exchange");
  figure.controls.append(make("div", { class: "buttons" }, play));

  let playing = null;
  function pause() {
    clearInterval(playing);
    playing = null;
    play.textContent = "Play the exchange";
  }
  play.addEventListener("click", () => {
    if (playing !== null) return pause();
    if (turns.value === TURNS) turns.position = 0;
    play.textContent = "Pause";
    playing = setInterval(() => {
      turns.position = turns.value + 1;
      update();
      if (turns.value === TURNS) pause();
    }, 150);
    update();
  });
  figure.onReset({ ...steps, turns }, () => {
    pause();
    state = START();
    update();
  });

  function ellipse({ target, angle, eigenvalues }) {
    const [rx, ry] = eigenvalues.map((value) => (x(1) - x(0)) * Math.sqrt(LEVEL / value));
    const [px, py] = pixels(target);
    const turned = -angle / DEGREE;
    const [dx, dy] = [rx * Math.cos(angle), -rx * Math.sin(angle)];
    const arc = (a, b) => `A${rx} ${ry} ${turned} 0 0 ${a} ${b}`;
    const [one, other] = [
      [px + dx, py + dy],
      [px - dx, py - dy],
    ];
    return `M${one.join(" ")}${arc(...other)}${arc(...one)}`;
  }

  function update() {
    if (!area.width) return;
    const { width, height } = area;
    const unit = width / (2 * REACH);
    x = widgets.scale([-REACH, REACH], [0, width]);
    y = widgets.scale([-height / 2 / unit, height / 2 / unit], [height, 0]);
    set(clip, { width, height });
    set(grid, { d: [-1, 0, 1].map((v) => `M${x(v)} 0V${height}M0 ${y(v)}H${width}`).join("") });
    for (const point of [state.w.target, state.u.target, state.start])
      point[1] = clamp(point[1], -bound(), bound());

    const [w, u] = ["w", "u"].map((who) => ({
      target: state[who].target,
      step: steps[who].value,
      geometry: dynamics.geometry(state[who].angle, ...state[who].eigenvalues),
    }));
    const limit = dynamics.equilibrium(w, u);
    let path = dynamics.messages(w, u, state.start, turns.value);
    if (!limit.settles) {
      // nothing is drawn of what runs away
      const last = path.findIndex(([a, b]) => Math.abs(a) > 2 * REACH || Math.abs(b) > 2 * REACH);
      if (last >= 0) path = path.slice(0, last + 1);
    }
    const points = path.map(pixels);
    set(zigzag, { d: line(points) });
    ["w", "u"].forEach((who, i) => {
      set(sent[who], { d: dots(points.filter((_, k) => k > 0 && k % 2 === 1 - i)) });
      set(ellipses[who], { d: ellipse(state[who]) });
      for (const mark of [rests[who], gaveUp[who]])
        set(mark, { visibility: limit.settles ? "visible" : "hidden" });
      if (!limit.settles) return;
      const rest = pixels(limit[who]);
      set(rests[who], { transform: `translate(${rest[0]} ${rest[1]})` });
      set(gaveUp[who], { d: line([pixels(state[who].target), rest]) });
    });
    for (const place of handles) place();

    const gap = Math.hypot(...limit.gap);
    const norm = (vector) => (vector ? Math.hypot(...vector) : null);
    const share = (vector) => (vector && gap > 0 ? norm(vector) / gap : null);
    const [shareW, shareU] = [share(limit.errorW), share(limit.errorU)];
    const pull = steps.u.value * Math.max(...state.u.eigenvalues);
    const point = (at) => (at ? `(${fixed(at[0], 2)}, ${fixed(at[1], 2)})` : "–");
    figure.show({
      gap: fixed(gap, 3),
      rate: fixed(limit.rate, 3),
      w: point(limit.w),
      u: point(limit.u),
      errorW: fixed(norm(limit.errorW), 3),
      errorU: fixed(norm(limit.errorU), 3),
    });
    const reached = figure.judge([
      [shareW !== null && shareW < WINS, percent(shareW)],
      [shareU !== null && shareU > KEEPS, percent(shareU)],
      [pull >= PULLS - 1e-12, fixed(pull, 2)],
    ]);
    warning.hidden = limit.settles;
    warning.textContent = limit.settles
      ? ""
      : `Unstable: ρ(AB) = ${fixed(limit.rate, 3)} is not below 1. The messages run away and there is no ` +
        "equilibrium. Make a step smaller.";
    figure.say(
      limit.settles
        ? `W's error ${fixed(norm(limit.errorW), 3)}, ${percent(shareW)} of the gap. ` +
            `U's error ${fixed(norm(limit.errorU), 3)}, ${percent(shareU)} of the gap. ` +
            `Contraction ${fixed(limit.rate, 3)}. Goal ${reached ? "reached" : "not reached"}.`
        : warning.textContent,
    );
  }

  area.start();
})();
