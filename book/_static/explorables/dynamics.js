// The arithmetic of the explorables: numbers in, numbers out, nothing of the page. The formulas are those of
// chapters 4, 5, 7, 9 and 13; tests/site/test_explorables.py holds each function to the Python package.
"use strict";

const dynamics = (() => {
  // A matrix is [a, b, c, d], row by row; P = eta S stands for an agent, whose map is v -> v - P (v - target).
  const product = ([a, b, c, d], [e, f, g, h]) => [a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h];
  const apply = ([a, b, c, d], [x, y]) => [a * x + b * y, c * x + d * y];
  const minus = (m, n) => m.map((entry, i) => entry - n[i]);
  const scaled = (m, factor) => m.map((entry) => factor * entry);
  const complement = ([a, b, c, d]) => [1 - a, -b, -c, 1 - d];
  const determinant = ([a, b, c, d]) => a * d - b * c;
  const solve = (m, n) => scaled(product([m[3], -m[1], -m[2], m[0]], n), 1 / determinant(m));

  // The symmetric matrix with eigenvalue `along` in the direction `angle` (radians) and `across` orthogonal to it.
  function geometry(angle, along, across) {
    const mean = (along + across) / 2;
    const half = (along - across) / 2;
    const [cos, sin] = [half * Math.cos(2 * angle), half * Math.sin(2 * angle)];
    return [mean + cos, sin, sin, mean - cos];
  }

  function spectralRadius([a, b, c, d]) {
    const mean = (a + d) / 2;
    const split = ((a - d) / 2) ** 2 + b * c;
    return split < 0 ? Math.hypot(mean, Math.sqrt(-split)) : Math.abs(mean) + Math.sqrt(split);
  }

  // rho(AB), the factor by which a round shrinks the distance to the equilibrium in the long run.
  const rate = (P, Q) => spectralRadius(product(complement(P), complement(Q)));

  // N with e_W = N Delta, N = (I - AB)^-1 A (I - B). I - AB = P + Q - PQ keeps the digits of small steps.
  function biasMatrix(P, Q) {
    const pq = product(P, Q);
    return solve(
      minus(
        P.map((entry, i) => entry + Q[i]),
        pq,
      ),
      minus(Q, pq),
    );
  }

  // Both limits and errors, null where rho(AB) >= 1. An agent is {target, step, geometry}.
  function equilibrium(w, u) {
    const [P, Q] = [scaled(w.geometry, w.step), scaled(u.geometry, u.step)];
    const rho = rate(P, Q);
    const gap = minus(u.target, w.target);
    if (!(rho < 1 - 1e-12))
      return { rate: rho, settles: false, gap, w: null, u: null, errorW: null, errorU: null };
    const errorW = apply(biasMatrix(P, Q), gap);
    const errorU = scaled(apply(biasMatrix(Q, P), gap), -1);
    const at = (target, error) => target.map((entry, i) => entry + error[i]);
    return { rate: rho, settles: true, gap, w: at(w.target, errorW), u: at(u.target, errorU), errorW, errorU };
  }

  // The start, then W's and U's messages in turn: 2 turns + 1 points.
  function messages(w, u, start, turns) {
    const sent = [start];
    for (let turn = 0; turn < turns; turn++) {
      for (const { target, step, geometry: S } of [w, u]) {
        const before = sent.at(-1);
        const pull = apply(S, minus(before, target));
        sent.push(before.map((entry, i) => entry - step * pull[i]));
      }
    }
    return sent;
  }

  // ||e||^2 for the targets (cos o, sin o) and (cos (o + theta), sin (o + theta)), with e = N Delta.
  function plateau(N, orientation, theta) {
    const length = 2 * Math.sin(theta / 2);
    const direction = orientation + theta / 2;
    const [x, y] = apply(N, [-length * Math.sin(direction), length * Math.cos(direction)]);
    return x * x + y * y;
  }

  // Gaps of one bias: `count` points on the ellipse where ||N Delta||^2 has this value.
  function levelLine(N, value, count) {
    const inverse = solve(N, [1, 0, 0, 1]);
    return Array.from({ length: count }, (_, i) => {
      const turn = (2 * Math.PI * i) / count;
      return apply(inverse, [Math.sqrt(value) * Math.cos(turn), Math.sqrt(value) * Math.sin(turn)]);
    });
  }

  // The condition number of G = N'N.
  function conditionNumber([a, b, c, d]) {
    const [p, q, r] = [a * a + c * c, a * b + c * d, b * b + d * d];
    const largest = (p + r) / 2 + Math.hypot((p - r) / 2, q);
    return largest === 0 ? 1 : Math.max(1, (largest / determinant([a, b, c, d])) ** 2);
  }

  const thetaMax = (kappa) => 4 * Math.atan(1 / Math.sqrt(kappa));

  // `count` eigenvalues from largest / kappa to largest, evenly spaced on a logarithmic scale.
  const spectrum = (count, largest, kappa) =>
    Array.from({ length: count }, (_, i) => largest * kappa ** (i / (count - 1) - 1));

  // The main agent's error before its first turn and after each, from an error of 1 spread evenly over the
  // eigendirections. The helper replies with w - (estimate S + damping I)^-1 S (w - w*); null is no helper.
  function mainErrors(eigenvalues, step, turns, helper) {
    let error = eigenvalues.map(() => 1 / Math.sqrt(eigenvalues.length));
    const norms = [1];
    for (let turn = 0; turn < turns; turn++) {
      if (helper && turn) {
        const { damping, estimate } = helper;
        error = error.map((e, i) => e * (1 - eigenvalues[i] / (estimate * eigenvalues[i] + damping)));
      }
      error = error.map((e, i) => e * (1 - step * eigenvalues[i]));
      norms.push(Math.hypot(...error));
    }
    return norms;
  }

  // The factor of a round in the direction of eigenvalue s.
  const roundFactor = (s, step, helper) =>
    (1 - step * s) * (helper ? 1 - s / (helper.estimate * s + helper.damping) : 1);

  // The least damping with which the helper's estimate is at least half of the truth.
  const safeDamping = (eigenvalues, estimate) => Math.max(0, (0.5 - estimate) * Math.max(...eigenvalues));

  // Who hears whom: P, row by row. Agent 0 is the hub of a star and the end of a path.
  function listeners(graph, count) {
    const linked = {
      ring: (i, j) => (i + 1) % count === j || (j + 1) % count === i,
      path: (i, j) => Math.abs(i - j) === 1,
      star: (i, j) => i !== j && (i === 0 || j === 0),
      all: (i, j) => i !== j,
    }[graph];
    const places = Array.from({ length: count }, (_, i) => i);
    return places.map((i) => {
      const heard = places.map((j) => Number(linked(i, j)));
      const many = heard.reduce((sum, one) => sum + one);
      return heard.map((one) => one / many);
    });
  }

  // One round of agents on a graph in one dimension. Agent i keeps the part kept[i] of its distance to its target.
  const round = (weights, kept, targets, messages) =>
    weights.map((row, i) => {
      const heard = row.reduce((sum, weight, j) => sum + weight * messages[j], 0);
      return kept[i] * heard + (1 - kept[i]) * targets[i];
    });

  // Where they rest, the solution of v = round(v), by elimination; no pivot is needed, as every row's diagonal prevails.
  function graphLimit(weights, kept, targets) {
    const rows = weights.map((row, i) => [
      ...row.map((weight, j) => Number(i === j) - kept[i] * weight),
      (1 - kept[i]) * targets[i],
    ]);
    rows.forEach((pivot, i) => {
      for (const row of rows) {
        if (row === pivot) continue;
        const factor = row[i] / pivot[i];
        for (let j = i; j < row.length; j++) row[j] -= factor * pivot[j];
      }
    });
    return rows.map((row, i) => row.at(-1) / row[i]);
  }

  // How much an agent that keeps the part a of its error listens to one that keeps b: K of isotropic prompts.
  const listening = (a, b) => (a * (1 - b)) / (1 - a * b);

  // The mean square error after talking, from both estimates' and the gap, and the gap below which it is less than own.
  const talkError = (k, own, other, gap) => (1 - k) ** 2 * own + k ** 2 * (other + gap ** 2);
  const criticalGap = (k, own, other) => Math.sqrt(Math.max(0, (2 * own) / k - own - other));

  return {
    geometry,
    rate,
    equilibrium,
    messages,
    biasMatrix,
    plateau,
    levelLine,
    conditionNumber,
    thetaMax,
    spectrum,
    mainErrors,
    roundFactor,
    safeDamping,
    listeners,
    round,
    graphLimit,
    listening,
    talkError,
    criticalGap,
    scaled,
  };
})();
