// What the explorables share: the frame with its goal and numbers, sliders, handles to drag, axes to draw on.
"use strict";

const widgets = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const QUIET = 700; // ms without a change before a screen reader is told

  // An element with attributes and children; text is a child too.
  function make(tag, attributes = {}, ...children) {
    return filled(document.createElement(tag), attributes, children);
  }

  function draw(parent, tag, attributes = {}, ...children) {
    const element = filled(document.createElementNS(SVG, tag), attributes, children);
    parent.append(element);
    return element;
  }

  function filled(element, attributes, children) {
    set(element, attributes);
    element.append(...children);
    return element;
  }

  function set(element, attributes) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  }

  // Numbers keep their width, so that nothing moves while they change.
  const fixed = (value, digits) =>
    value === null || !Number.isFinite(value)
      ? "–"
      : (Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value).toFixed(digits).replace("-", "−");
  const percent = (share) => (share === null || !Number.isFinite(share) ? "–" : `${fixed(100 * share, 1)} %`);
  const power = (exponent) => `10^${exponent < 0 ? "−" : ""}${Math.abs(exponent)}`;

  function scientific(value) {
    if (!Number.isFinite(value)) return "–";
    const [digits, exponent] = value.toExponential(1).split("e");
    return value === 0 ? "0" : `${digits} × ${power(Number(exponent))}`;
  }

  // Text with raised and lowered parts, as in 10^−6 and θ_max, in HTML and in a drawing.
  function write(element, text) {
    if (element.dataset.text === text) return;
    element.dataset.text = text;
    const parts = text.split(/([\^_][−\w∞]+)/).filter(Boolean);
    if (!(element instanceof SVGElement)) {
      element.replaceChildren(
        ...parts.map((part) =>
          /^[\^_]/.test(part) ? make(part[0] === "^" ? "sup" : "sub", {}, part.slice(1)) : part,
        ),
      );
      return;
    }
    element.replaceChildren();
    let shifted = 0; // pixels: a shift lasts until the next
    for (const part of parts) {
      const [wanted, words] = { "^": [-5, part.slice(1)], _: [4, part.slice(1)] }[part[0]] ?? [0, part];
      draw(element, "tspan", wanted ? { dy: wanted - shifted, class: "small" } : { dy: -shifted }, words);
      shifted = wanted;
    }
  }

  // A label, after a swatch where it begins with one's classes: "[w ring] W rests at w_∞".
  function entitle(element, label) {
    const [, look, words] = label.match(/^(?:\[(.+)\] )?(.*)$/);
    write(element, words);
    if (look) element.prepend(make("i", { class: look }));
    return element;
  }

  // The frame of one explorable, put into the page in place of its still figure, which stays below in a fold.
  function frame(name, { title, numbers, goal, conditions }) {
    const host = document.getElementById(`explorable-${name}`);
    const heading = make("p", { class: "title", id: `explorable-${name}-title` }, title);
    const reset = make("button", { type: "button", class: "reset" }, "Reset");
    const plot = make("div", { class: "plot" });
    const controls = make("div", { class: "controls" });
    const values = make("dl", { class: "numbers" });
    const shown = {};
    for (const [key, label] of Object.entries(numbers)) {
      shown[key] = make("dd");
      values.append(make("div", {}, entitle(make("dt"), label), shown[key]));
    }
    const box = make("div", { class: "goal" });
    const verdict = make("strong", { class: "verdict" });
    const list = make("ul");
    const marks = conditions.map((text) => {
      const [mark, now] = [make("span", { class: "check" }), make("span", { class: "now" })];
      list.append(make("li", {}, mark, entitle(make("span"), text), now));
      return { mark, now };
    });
    box.append(make("p", {}, make("strong", {}, "Goal. "), goal), list, verdict);
    const summary = make("p", { class: "summary", role: "status" });
    const section = make(
      "section",
      { class: "frame", "aria-labelledby": heading.id },
      make("div", { class: "head" }, heading, reset),
      plot,
      values,
      controls,
      box,
      summary,
    );
    host.append(section);
    host.hidden = false;
    fold(document.getElementById(host.dataset.figure), title);

    let timer;
    return {
      plot,
      controls,
      // The button sets these controls back, and then does what is left.
      onReset(parts, then) {
        reset.addEventListener("click", () => {
          for (const control of Object.values(parts)) control.reset();
          then();
        });
      },
      show(texts) {
        for (const [key, text] of Object.entries(texts)) write(shown[key], text);
      },
      // One [met, value] for each condition.
      judge(states) {
        states.forEach(([met, now], i) => {
          marks[i].mark.textContent = met ? "✓" : "○";
          set(marks[i].mark, { role: "img", "aria-label": met ? "met:" : "not met:" });
          write(marks[i].now, now);
        });
        const reached = states.every(([met]) => met);
        box.dataset.reached = reached;
        verdict.textContent = reached ? "Reached" : "Not reached yet";
        return reached;
      },
      // What a screen reader says once the reader's hand rests; not on loading.
      say(text) {
        clearTimeout(timer);
        if (summary.dataset.said === undefined) summary.dataset.said = text;
        timer = setTimeout(() => {
          if (summary.dataset.said !== text) summary.textContent = summary.dataset.said = text;
        }, QUIET);
      },
    };
  }

  function fold(figure, title) {
    const details = make(
      "details",
      { class: "still" },
      make("summary", {}, `${title}: the still figure, its caption and data`),
    );
    figure.replaceWith(details);
    details.append(figure);
    let open;
    addEventListener("beforeprint", () => {
      open = details.open;
      details.open = true;
    });
    addEventListener("afterprint", () => {
      details.open = open;
    });
  }

  // A range input. `value` turns its position into the number meant, `text` that number into words.
  function slider(parent, { id, label, min, max, step, start, value = Number, text }, changed) {
    const input = make("input", { type: "range", id: `explorable-${id}`, min, max, step });
    const output = make("output", { for: input.id, "aria-live": "off" });
    parent.append(
      make("div", { class: "slider" }, entitle(make("label", { for: input.id }), label), output, input),
    );
    const say = () => {
      const words = text(value(Number(input.value)));
      write(output, words);
      set(input, { "aria-valuetext": words });
    };
    const control = {
      get value() {
        return value(Number(input.value));
      },
      set position(position) {
        input.value = position;
        say();
      },
      reset() {
        control.position = start;
      },
    };
    input.addEventListener("input", () => {
      say();
      changed();
    });
    control.reset();
    return control;
  }

  // Something in a drawing to drag, or to move with the arrow keys once it has the focus. `drag` gets a point of the
  // drawing in pixels; `press` gets the arrow's direction and whether Shift makes it a large step.
  function handle(parent, { id, label, drag, press }) {
    const group = draw(parent, "g", {
      id: `explorable-${id}`,
      class: "handle",
      tabindex: 0,
      role: "slider",
      "aria-label": label,
    });
    const svg = parent.ownerSVGElement ?? parent;
    const point = (event) => {
      const box = svg.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    let grabbed = null;
    // Not every browser heeds touch-action inside a drawing.
    group.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
    group.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      group.focus({ preventScroll: true });
      group.setPointerCapture(event.pointerId);
      // A handle taken off its centre keeps that distance.
      const centre = event.target.closest("[data-x]").dataset;
      const [x, y] = point(event);
      grabbed = [Number(centre.x) - x, Number(centre.y) - y];
      group.classList.add("held");
    });
    group.addEventListener("pointermove", (event) => {
      if (!grabbed) return;
      const [x, y] = point(event);
      drag([x + grabbed[0], y + grabbed[1]]);
    });
    const release = () => {
      grabbed = null;
      group.classList.remove("held");
    };
    group.addEventListener("pointerup", release);
    group.addEventListener("pointercancel", release);
    group.addEventListener("keydown", (event) => {
      const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!arrow || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      press(arrow, event.shiftKey);
    });
    return {
      group,
      // A grip: a shape around (0, 0), with a larger area about it that can be caught.
      grip(tag, attributes) {
        const grip = draw(group, "g", { class: "grip" });
        draw(grip, "circle", { r: 20, class: "area" });
        draw(grip, tag, attributes);
        return ([x, y]) => {
          set(grip, { transform: `translate(${x.toFixed(2)} ${y.toFixed(2)})`, "data-x": x, "data-y": y });
        };
      },
      tell({ now, min, max, text }) {
        set(group, { "aria-valuenow": now, "aria-valuemin": min, "aria-valuemax": max, "aria-valuetext": text });
      },
    };
  }

  // A drawing as wide as its place. `redraw` gets its size in pixels, now and whenever that changes.
  function canvas(parent, { label, height }, redraw) {
    const svg = draw(parent, "svg", { role: "group", "aria-label": label });
    const area = { svg, width: 0, height: 0 };
    area.start = () =>
      new ResizeObserver(([entry]) => {
        const width = Math.round(entry.contentRect.width);
        if (width === 0 || width === area.width) return;
        area.width = width;
        area.height = height(width);
        set(svg, { viewBox: `0 0 ${area.width} ${area.height}`, height: area.height });
        redraw();
      }).observe(parent);
    return area;
  }

  // A square drawing and a chart beside it, by their labels.
  function beside(plot, drawing, chart, redraw) {
    plot.classList.add("two");
    const [one, other] = [
      canvas(make("div"), { label: drawing, height: (width) => width }, redraw),
      canvas(make("div"), { label: chart, height: (width) => Math.round(Math.max(240, 0.62 * width)) }, redraw),
    ];
    plot.append(one.svg.parentNode, other.svg.parentNode);
    set(other.svg, { role: "img" });
    return [one, other];
  }

  // A linear scale and its inverse.
  function scale([from, to], [start, end]) {
    const slope = (end - start) / (to - from);
    const map = (value) => start + slope * (value - from);
    map.inverse = (pixel) => from + (pixel - start) / slope;
    return map;
  }

  // Texts of an axis, [x, y, anchor, text] each; drawn again only when they differ.
  function label(group, texts) {
    const key = JSON.stringify(texts);
    if (group.dataset.key === key) return;
    group.dataset.key = key;
    group.replaceChildren();
    for (const [x, y, anchor, text] of texts) write(draw(group, "text", { x, y, "text-anchor": anchor }), text);
  }

  const line = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}`).join("");
  // Marks without length: round line caps make them dots, square ones squares.
  const dots = (points) => points.map(([x, y]) => `M${x.toFixed(2)} ${y.toFixed(2)}h0`).join("");
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  return {
    make,
    draw,
    set,
    fixed,
    percent,
    power,
    scientific,
    write,
    frame,
    slider,
    handle,
    canvas,
    beside,
    scale,
    label,
    line,
    dots,
    clamp,
  };
})();
