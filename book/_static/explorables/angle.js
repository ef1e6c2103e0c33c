// The angle between the targets (chapter 5): both plateaus over theta, and the angle up to which none can fall.
"use strict";

(() => {
  const { draw, set, fixed, percent, line, clamp } = widgets;
  const DEGREE = Math.PI / 180;
  const STEPS = { w: 0.5, u: 0.3 }; // step times largest eigenvalue, as in the chapter's other figures
  const FALL = 0.1; // below the peak, of the peak
  const figure = widgets.frame("angle", {
    title: "The angle between the targets",
    numbers: {
      w: "[w] W’s plateau ‖e_W‖²",
      u: "[u] U’s plateau ‖e_U‖²",
      fall: "W below its peak so far",
      limitW: "[w dash] θ_max of W",
      limitU: "[u dash] θ_max of U",
      kappa: "κ of W’s G",
    },
    goal: "Find a setting at which widening the angle lowers W’s plateau.",
    conditions: [
      "W’s plateau is at least 10 % below its peak at a smaller angle",
      "the angle is above W’s θ_max, as it must be",
    ],
  });
  const [dial, chart] = widgets.beside(
    figure.plot,
    "Both targets on a circle, with handles to turn",
    "Both plateaus against the angle",
    update,
  );

  const degrees = (value) => `${fixed(value, 0)}°`;
  const condition = (value) => fixed(value, value < 9.95 ? 1 : 0);
  const slider = (id, label, min, max, step, start, text, value) =>
    widgets.slider(figure.controls, { id: `angle-${id}`, label, min, max, step, start, text, value }, update);
  const controls = {
    theta: slider("theta", "angle θ between the targets", 0, 180, 1, 60, degrees),
    orientation: slider("orientation", "direction of w*", 0, 180, 1, 50, degrees),
    kappaW: slider("kappa-w", "[w] condition number of W’s geometry", 0, 2, 0.02, 0.6, condition, (p) => 10 ** p),
    kappaU: slider("kappa-u", "[u] condition number of U’s geometry", 0, 2, 0.02, 0.6, condition, (p) => 10 ** p),
    turn: slider("turn", "U’s geometry turned by", 0, 90, 1, 40, degrees),
  };
  figure.onReset(controls, update);

  // The dial: targets on the unit circle and the gap between them. An ellipse about w* goes through all targets of U
  // that leave its agent as biased as this one does.
  const circle = draw(dial.svg, "circle", { class: "grid" });
  const ellipses = {
    w: draw(dial.svg, "path", { class: "ellipse w" }),
    u: draw(dial.svg, "path", { class: "ellipse u" }),
  };
  const rays = draw(dial.svg, "path", { class: "zigzag" });
  const opening = draw(dial.svg, "path", { class: "opening" });
  const gapLine = draw(dial.svg, "path", { class: "gap" });
  const gapText = draw(dial.svg, "text", { class: "name gap", "aria-hidden": "true" }, "Δ");
  const thetaText = draw(dial.svg, "text", { class: "name", "aria-hidden": "true" }, "θ");
  const around = ([px, py]) => Math.atan2(dial.height / 2 - py, px - dial.width / 2) / DEGREE;
  const within = (angle, turn) => ((angle % turn) + turn) % turn;

  function target(id, label, grip, mark, turnTo, now) {
    const item = widgets.handle(dial.svg, {
      id: `angle-${id}`,
      label,
      drag: (point) => {
        turnTo(around(point));
        update();
      },
      press: ([right, up], large) => {
        turnTo(now() + (right || up) * (large ? 15 : 1), true);
        update();
      },
    });
    const move = item.grip(...grip);
    const text = draw(item.group, "text", { class: "name", "aria-hidden": "true" }, mark);
    return { item, move, text };
  }
  // Dragged past the end of its range a target stays there.
  const between = (angle) => {
    const turned = within(angle, 360);
    return turned > 270 ? 0 : Math.min(turned, 180);
  };
  const targets = {
    w: target(
      "target-w",
      "Direction of W’s target",
      ["circle", { r: 9, class: "w" }],
      "w*",
      (angle, key) => {
        controls.orientation.position = key ? clamp(angle, 0, 180) : between(angle);
      },
      () => controls.orientation.value,
    ),
    u: target(
      "target-u",
      "Angle to U’s target",
      ["rect", { x: -8, y: -8, width: 16, height: 16, class: "u" }],
      "u*",
      (angle, key) => {
        controls.theta.position = key ? clamp(angle, 0, 180) : between(angle - controls.orientation.value);
      },
      () => controls.theta.value,
    ),
  };

  const axes = draw(chart.svg, "path", { class: "grid" });
  const ticks = draw(chart.svg, "g", { class: "ticks", "aria-hidden": "true" });
  const curves = {},
    limits = {},
    limitTexts = {},
    now = {};
  for (const who of ["u", "w"]) {
    limits[who] = draw(chart.svg, "path", { class: `limit ${who}` });
    limitTexts[who] = draw(chart.svg, "text", { class: "name", "aria-hidden": "true" });
    widgets.write(limitTexts[who], `θ_max of ${who.toUpperCase()}`);
    curves[who] = draw(chart.svg, "path", { class: `curve ${who}` });
    now[who] = draw(chart.svg, "g", { class: `now ${who}` });
    draw(
      now[who],
      ...(who === "w" ? ["circle", { r: 7 }] : ["rect", { x: -6.5, y: -6.5, width: 13, height: 13 }]),
    );
  }

  function drawDial(theta, orientation, N, plateaus) {
    const { width } = dial;
    const [centre, radius] = [width / 2, width / 2 - 34];
    const at = (angle, length = radius) => [
      centre + length * Math.cos(angle * DEGREE),
      centre - length * Math.sin(angle * DEGREE),
    ];
    set(circle, { cx: centre, cy: centre, r: radius });
    const [one, other] = [at(orientation), at(orientation + theta)];
    for (const who of ["w", "u"]) {
      const level = dynamics.levelLine(N[who], plateaus[who][theta], 120);
      set(ellipses[who], { d: `${line(level.map(([x, y]) => [one[0] + radius * x, one[1] - radius * y]))}Z` });
    }
    set(rays, { d: line([one, [centre, centre], other]) });
    set(gapLine, { d: line([one, other]) });
    const arc = 0.3 * radius;
    set(opening, {
      d: `M${at(orientation, arc).join(" ")}A${arc} ${arc} 0 0 0 ${at(orientation + theta, arc).join(" ")}`,
    });
    const place = (text, [px, py]) => set(text, { x: px, y: py + 5 });
    place(thetaText, at(orientation + theta / 2, arc + 14));
    place(gapText, at(orientation + theta / 2, radius * Math.cos((theta / 2) * DEGREE) + 14));
    gapText.toggleAttribute("hidden", theta < 12);
    for (const [who, angle] of [
      ["w", orientation],
      ["u", orientation + theta],
    ]) {
      targets[who].move(at(angle));
      place(targets[who].text, at(angle + (theta < 12 ? (who === "w" ? -8 : 8) : 0), radius + 22));
    }
    targets.w.item.tell({ now: orientation, min: 0, max: 180, text: degrees(orientation) });
    targets.u.item.tell({ now: theta, min: 0, max: 180, text: degrees(theta) });
  }

  function drawChart(theta, plateaus, limit) {
    const { width, height } = chart;
    const highest = Math.max(...plateaus.w, ...plateaus.u);
    const unit = [0.05, 0.1, 0.25, 0.5, 1].find((step) => highest <= 4.2 * step) ?? 1;
    const top = unit * Math.max(1, Math.ceil(highest / unit - 0.05));
    const x = widgets.scale([0, 180], [46, width - 14]);
    const y = widgets.scale([0, 1.06 * top], [height - 40, 36]);
    const levels = Array.from({ length: Math.round(top / unit) + 1 }, (_, i) => i * unit);
    set(axes, { d: levels.map((v) => `M${x(0)} ${y(v)}H${x(180)}`).join("") });
    widgets.label(ticks, [
      ...levels.map((v) => [x(0) - 7, y(v) + 4, "end", fixed(v, 2)]),
      ...[0, 45, 90, 135, 180].map((v) => [x(v), height - 22, "middle", `${v}°`]),
      [(x(0) + x(180)) / 2, height - 4, "middle", "angle θ between the targets"],
    ]);
    for (const who of ["w", "u"]) {
      set(curves[who], { d: line(plateaus[who].map((value, i) => [x(i), y(value)])) });
      set(now[who], { transform: `translate(${x(theta)} ${y(plateaus[who][theta])})` });
      const px = x(limit[who] / DEGREE);
      const row = who === "w" ? 12 : 29;
      set(limits[who], { d: `M${px} ${row - 10}V${height - 40}` });
      const right = px > width - 90;
      set(limitTexts[who], { x: px + (right ? -5 : 5), y: row, "text-anchor": right ? "end" : "start" });
    }
  }

  function update() {
    if (!dial.width || !chart.width) return;
    const [theta, orientation, turn] = [controls.theta.value, controls.orientation.value, controls.turn.value];
    const kappas = { w: controls.kappaW.value, u: controls.kappaU.value };
    const P = dynamics.geometry(0, STEPS.w, STEPS.w / kappas.w);
    const Q = dynamics.geometry(turn * DEGREE, STEPS.u, STEPS.u / kappas.u);
    const N = { w: dynamics.biasMatrix(P, Q), u: dynamics.biasMatrix(Q, P) };
    const plateaus = {},
      limit = {};
    for (const who of ["w", "u"]) {
      plateaus[who] = Array.from({ length: 181 }, (_, i) =>
        dynamics.plateau(N[who], orientation * DEGREE, i * DEGREE),
      );
      limit[who] = dynamics.thetaMax(dynamics.conditionNumber(N[who]));
    }
    drawDial(theta, orientation, N, plateaus);
    drawChart(theta, plateaus, limit);

    const peak = Math.max(...plateaus.w.slice(0, theta + 1));
    const fall = peak > 0 ? 1 - plateaus.w[theta] / peak : 0;
    const max = (who) => `${fixed(limit[who] / DEGREE, 1)}°`;
    figure.show({
      w: fixed(plateaus.w[theta], 4),
      u: fixed(plateaus.u[theta], 4),
      fall: percent(fall),
      limitW: max("w"),
      limitU: max("u"),
      kappa: fixed(dynamics.conditionNumber(N.w), 1),
    });
    const reached = figure.judge([
      [fall >= FALL, percent(fall)],
      [theta * DEGREE > limit.w, `${theta}°, ${max("w")}`],
    ]);
    figure.say(
      `At ${theta} degrees W's plateau is ${fixed(plateaus.w[theta], 4)}, ${percent(fall)} below its peak at a ` +
        `smaller angle; U's is ${fixed(plateaus.u[theta], 4)}. Theta max of W is ${max("w")}. ` +
        `Goal ${reached ? "reached" : "not reached"}.`,
    );
  }

  dial.start();
  chart.start();
})();
