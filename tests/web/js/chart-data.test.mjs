// What charts compute from series before they draw them.
import assert from "node:assert/strict";
import * as data from "./chart-data.js";
import { addressOf, readState } from "./chart-state.js";

const job = { id: "a", epoch: 10, spans: [[100, 110], [1000, null]], marks: [] };
const series = (steps, values, more = {}) => ({
  steps, times: steps.map((step) => 100 + step), mean: values, last: values, counts: null, min: null, max: null, ...more,
});
const state = readState("");

// The time between attempts is cut out of the training time.
assert.equal(data.trainingTime(job.spans, 105), 5);
assert.equal(data.trainingTime(job.spans, 500), 10);
assert.equal(data.trainingTime(job.spans, 1005), 15);
assert.deepEqual(data.xValues(series([10, 20], [1, 2]), job, "epoch"), [1, 2]);
assert.deepEqual(data.xValues({ steps: [1, 2], times: [7, 7] }, job, "wall"), [7, 7.001]);

// A logarithmic axis leaves out what it cannot show, and counts it.
const line = data.drawnLine({ count: 3 }, series([1, 2, 3], [0, -1, 2]), job, { ...state, y: "log" });
assert.deepEqual(line.y, [null, null, 2]);
assert.equal(line.hidden, 2);

// Focus leaves out the extremes, and says how many.
const values = Array.from({ length: 101 }, (_, index) => index);
const range = data.yRange(values, { focus: true, isLog: false });
assert.equal(range.above, 2);
assert.equal(range.below, 2);
assert.equal(data.yRange(values, { focus: false, isLog: false }).above, 0);
assert.ok(data.yRange([5], { focus: false, isLog: false }).high > 5);

// A share that stays the same has the axis from 0 to 1.
for (const share of [0, 0.25, 1]) {
  const whole = data.yRange([share, share], { focus: false, isLog: false, isShare: true });
  assert.deepEqual([whole.low, whole.high], [0, 1]);
}

// New points join those that are there; points that came twice do not.
const joined = data.appended(series([1, 2], [1, 2]), series([2, 3], [9, 3]));
assert.deepEqual(joined.steps, [1, 2, 3]);
assert.deepEqual(joined.mean, [1, 2, 3]);
assert.equal(joined.counts, null);
const bucketed = series([2], [1], { counts: [2], min: [0], max: [2] });
assert.deepEqual(data.appended(bucketed, series([3], [5])).max, [2, 5]);
assert.deepEqual(data.appended(bucketed, series([3], [5])).counts, [2, 1]);

// The nearest point, and none beyond the ends of a line.
assert.equal(data.nearest({ x: [1, 5, 9] }, 6, 0), 1);
assert.equal(data.nearest({ x: [1, 5, 9] }, 20, 1), null);

// A zoom reads beyond its edges, with four half-lives before it.
const zoomed = { ...state, from: 5, to: 6, x: "epoch", smooth: 5 };
const asked = data.stepRange(zoomed, [], () => [{ job, series: series([1], [1]) }]);
assert.ok(asked.from <= 50 - 20 && asked.to >= 60, JSON.stringify(asked));
assert.equal(data.stepRange(state, [], () => []), null);

// Labels do not overlap, and there are no more than fit.
const places = data.spread([10, 11, 12, null], 100, 14).filter((place) => place !== null).sort((a, b) => a - b);
assert.ok(places[1] - places[0] >= 14 && places[2] - places[1] >= 14 && places[2] <= 100);
assert.equal(data.spread(Array(30).fill(5), 184, 14).filter((place) => place !== null).length, 13);

// Texts of marks in a plot of 100: beside their marks, in rows in which none overlap, and none where no row has room.
const room = { rows: 3, gap: 4 };
assert.deepEqual(data.placeTexts([{ x: 10, width: 30 }, { x: 60, width: 30 }], 100, room), [
  { left: 14, row: 0 }, { left: 64, row: 0 },
]);
assert.deepEqual(data.placeTexts([{ x: 90, width: 30 }], 100, room), [{ left: 56, row: 0 }]);
const close = [10, 12, 14, 16, 50].map((x) => ({ x, width: 30 }));
assert.deepEqual(data.placeTexts(close, 100, room).map((place) => place?.row ?? null), [0, 1, 2, null, 0]);
assert.deepEqual(data.placeTexts([{ x: -1, width: 9 }, { x: 101, width: 9 }, { x: 50, width: 101 }], 100, room), [null, null, null]);

// The address has what differs from the usual view, and reading it gives the same view.
const view = { ...state, x: "epoch", y: "log", focus: true, smooth: 50, from: 1.5, to: 3, charts: "loss" };
const address = addressOf(view, "http://host/ui/compare?job=job_1~0");
assert.ok(address.startsWith("http://host/ui/compare?job=job_1~0&"), address);
assert.deepEqual(readState(new URL(address).search), view);
assert.equal(addressOf(state, "http://host/ui/jobs/x?y=log&smooth=5"), "http://host/ui/jobs/x");
assert.deepEqual(readState("?from=9&to=1&x=no&smooth=-4&y=%3Cb%3E"), state);
console.log("ok");
