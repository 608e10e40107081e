// Smoothing of curves: an exponential mean whose half-life is in steps, so that it is the same at every zoom.

// Below this number of points nothing is smoothed.
export const MIN_POINTS = 20;
// When zoomed, this many half-lives before the view are read, so that the mean has settled where the view begins.
export const LEAD_IN = 4;

// The smoothed means of buckets. `counts` has the points of each bucket (null: one each), which lie between the last
// step of the bucket before it and its own. The mean is debiased: it starts at the first value, not at zero. Where there
// is no value, the result has none either.
export function smooth(steps, values, counts, halfLife) {
  if (!(halfLife > 0)) return values.slice();
  let sum = 0;
  let weight = 0;
  return values.map((value, index) => {
    const count = counts ? counts[index] : 1;
    const width = bucketWidth(steps, counts, index);
    if (index > 0) {
      const decay = 2 ** (-(steps[index] - steps[index - 1]) / halfLife);
      sum *= decay;
      weight *= decay;
    }
    if (value === null || value === undefined) return value;
    const share = bucketWeight(count, width / count, halfLife);
    sum += share * value;
    weight += share;
    return sum / weight;
  });
}

// The steps that a bucket covers. The first has no bucket before it: its points are as dense as those of the second.
function bucketWidth(steps, counts, index) {
  if (index > 0) return steps[index] - steps[index - 1];
  if (steps.length < 2) return counts ? counts[0] : 1;
  const spacing = (steps[1] - steps[0]) / (counts ? counts[1] : 1);
  return spacing * (counts ? counts[0] : 1);
}

// What the points of a bucket weigh at its end, each decayed by its own distance.
function bucketWeight(count, spacing, halfLife) {
  const decay = 2 ** (-spacing / halfLife);
  return decay < 1 ? (1 - decay ** count) / (1 - decay) : count;
}

// Whether a curve has enough points to be smoothed.
export function isSmoothed(numPoints, halfLife) {
  return halfLife > 0 && numPoints >= MIN_POINTS;
}
