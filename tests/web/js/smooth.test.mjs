// Properties of the smoothing of curves; `node smooth.test.mjs` fails with the first that does not hold.
import assert from "node:assert/strict";
import { isSmoothed, smooth } from "./smooth.js";

const steps = (count, every = 1) => Array.from({ length: count }, (_, index) => (index + 1) * every);
const close = (a, b, tolerance = 1e-9) => assert.ok(Math.abs(a - b) <= tolerance, `${a} is not ${b}`);

// A constant stays: the mean starts at the first value, not at zero.
for (const value of smooth(steps(50), Array(50).fill(3), null, 10)) close(value, 3);

// Without a half-life the values are as they are.
assert.deepEqual(smooth([1, 2], [5, 6], null, 0), [5, 6]);

// One half-life after a jump, half of it is left.
const jump = smooth(steps(3000), [...Array(2000).fill(0), ...Array(1000).fill(1)], null, 100);
close(jump[2099], 0.5, 1e-6);

// The half-life is in steps: values at every tenth step are smoothed as those at every step.
const dense = smooth(steps(1000), steps(1000).map((step) => Math.sin(step / 200)), null, 50);
const sparse = smooth(steps(100, 10), steps(100, 10).map((step) => Math.sin(step / 200)), null, 50);
close(dense[999], sparse[99], 0.03);

// Buckets of equal values are smoothed exactly as their points.
const points = steps(400).map((step) => Math.floor((step - 1) / 4) % 7);
const buckets = steps(100, 4);
const means = buckets.map((_, index) => index % 7);
const fine = smooth(steps(400), points, null, 13);
const coarse = smooth(buckets, means, Array(100).fill(4), 13);
buckets.forEach((step, index) => close(coarse[index], fine[step - 1]));

// Buckets weigh by their counts: nine values of 0 in one bucket outweigh a value of 1 before them.
const weighted = smooth([1, 10], [1, 0], [1, 9], 1e9);
close(weighted[1], 0.1, 1e-6);

// With a lead-in of four half-lives, a part of a curve is smoothed nearly as the whole is.
const values = steps(1000).map((step) => ((step * 7919) % 101) / 101);
const whole = smooth(steps(1000), values, null, 20);
const part = smooth(steps(1000).slice(420), values.slice(420), null, 20);
close(part[80], whole[500], 0.05);

// A missing value stays missing and changes nothing else.
const gap = smooth([1, 2, 3], [2, null, 2], null, 5);
assert.equal(gap[1], null);
close(gap[2], 2);

// Few points are not smoothed.
assert.equal(isSmoothed(19, 10), false);
assert.equal(isSmoothed(20, 10), true);
assert.equal(isSmoothed(100, 0), false);
console.log("ok");
