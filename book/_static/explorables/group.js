// A lone voice in a group (chapter 9): one agent wants 1, the others 0, on a graph that the reader picks.
"use strict";

(() => {
  const { draw, set, fixed, line } = widgets;
  const ROUNDS = 12;
  const GRAPHS = ["ring", "path", "star", "all"];
  const NAMES = { ring: "a ring", path: "a path", star: "a star", all: "everyone hears everyone" };
  const [HEARD, YIELDING, MANY] = [0.45, 0.5, 5];
  const figure = widgets.frame("group", {
    title: "A lone voice in a group",
    numbers: {
      one: "[third] where the lone voice rests",
      others: "[muted] where the others rest",
      mean: "mean of all messages",
      apart: "furthest apart",
    },
    goal: "Make the group follow the one agent that wants 1.",
    conditions: [
      "the mean of all messages is at least 0.45",
      "the others keep at most half of their error each turn",
      "there are at least five agents",
    ],
  });
  const [map, chart] = widgets.beside(
    figure.plot,
    "The graph",
    "Messages round by round",
    update,
  );
  set(map.svg, { role: "img" });

  const slider = (id, label, min, max, step, start, text) =>
    widgets.slider(figure.controls, { id: `group-${id}`, label, min, max, step, start, text }, update);
  const controls = {
    graph: slider("graph", "graph", 0, GRAPHS.length - 1, 1, 0, (value) => NAMES[GRAPHS[value]]),
    count: slider("count", "agents", 3, 8, 1, 5, String),
    one: slider("one", "[third] part of its error that the lone voice keeps", 0, 0.95, 0.05, 0.5, (a) => fixed(a, 2)),
    others: slider("others", "[muted] part that the others keep", 0, 0.95, 0.05, 0.5, (a) => fixed(a, 2)),
  };
  figure.onReset(controls, update);

  const links = draw(map.svg, "path", { class: "zigzag" });
  const nodes = draw(map.svg, "g", { class: "now" });
  const values = draw(map.svg, "g", { "aria-hidden": "true" });
  const axes = draw(chart.svg, "path", { class: "grid" });
  const ticks = draw(chart.svg, "g", { class: "ticks", "aria-hidden": "true" });
  const curves = draw(chart.svg, "g");

  // A hub in the middle, a path from left to right, all others on a circle.
  function places(graph, count) {
    const [centre, radius] = [map.width / 2, map.width / 2 - 30];
    const around = (i, all) => {
      const angle = (2 * Math.PI * i) / all - Math.PI / 2;
      return [centre + radius * Math.cos(angle), centre + radius * Math.sin(angle)];
    };
    return Array.from({ length: count }, (_, i) => {
      if (graph === "path") return [centre + radius * ((2 * i) / (count - 1) - 1), centre];
      if (graph === "star") return i ? around(i - 1, count - 1) : [centre, centre];
      return around(i, count);
    });
  }

  function drawMap(graph, weights, limit) {
    const at = places(graph, limit.length);
    const pairs = weights.flatMap((row, i) => row.flatMap((weight, j) => (weight && i < j ? [[i, j]] : [])));
    set(links, { d: pairs.map(([i, j]) => line([at[i], at[j]])).join("") });
    nodes.replaceChildren();
    at.forEach(([cx, cy], i) => draw(nodes, "circle", { cx, cy, r: 17, class: i ? "muted" : "third" }));
    widgets.label(
      values,
      at.map(([px, py], i) => [px, py + 5, "middle", fixed(limit[i], 2)]),
    );
  }

  function drawChart(rounds) {
    const x = widgets.scale([0, ROUNDS], [40, chart.width - 14]);
    const y = widgets.scale([0, 1], [chart.height - 42, 14]);
    const levels = [0, 0.25, 0.5, 0.75, 1];
    set(axes, { d: levels.map((v) => `M${x(0)} ${y(v)}H${x(ROUNDS)}`).join("") });
    widgets.label(ticks, [
      ...levels.map((v) => [x(0) - 7, y(v) + 4, "end", fixed(v, 2)]),
      ...[0, 4, 8, 12].map((v) => [x(v), chart.height - 24, "middle", String(v)]),
      [(x(0) + x(ROUNDS)) / 2, chart.height - 5, "middle", "round"],
    ]);
    curves.replaceChildren();
    for (let i = rounds[0].length - 1; i >= 0; i--)
      draw(curves, "path", {
        class: `curve ${i ? "muted" : "third"}`,
        d: line(rounds.map((messages, t) => [x(t), y(messages[i])])),
      });
  }

  function update() {
    if (!map.width || !chart.width) return;
    const [graph, count] = [GRAPHS[controls.graph.value], controls.count.value];
    const kept = Array.from({ length: count }, (_, i) => (i ? controls.others.value : controls.one.value));
    const targets = kept.map((_, i) => Number(i === 0));
    const weights = dynamics.listeners(graph, count);
    const rounds = [kept.map(() => 0)];
    for (let t = 0; t < ROUNDS; t++) rounds.push(dynamics.round(weights, kept, targets, rounds[t]));
    const limit = dynamics.graphLimit(weights, kept, targets);
    drawMap(graph, weights, limit);
    drawChart(rounds);

    const mean = limit.reduce((sum, value) => sum + value) / count;
    const others = [Math.min(...limit.slice(1)), Math.max(...limit.slice(1))].map((value) => fixed(value, 3));
    const between = others[0] === others[1] ? others[0] : `${others[0]} to ${others[1]}`;
    figure.show({
      one: fixed(limit[0], 3),
      others: between,
      mean: fixed(mean, 3),
      apart: fixed(Math.max(...limit) - Math.min(...limit), 3),
    });
    const reached = figure.judge([
      [mean >= HEARD, fixed(mean, 3)],
      [controls.others.value <= YIELDING, fixed(controls.others.value, 2)],
      [count >= MANY, String(count)],
    ]);
    figure.say(
      `${count} agents, ${NAMES[graph]}. The lone voice rests at ${fixed(limit[0], 3)}, the others at ${between}; ` +
        `the mean is ${fixed(mean, 3)}. Goal ${reached ? "reached" : "not reached"}.`,
    );
  }

  map.start();
  chart.start();
})();
