// The draft of a submitted job is kept until the submission has succeeded, which a redirect to the job's page shows.
const SUBMITTED = "mcn.submitted";

// Called as the form is sent; `key` is that of the draft in `localStorage`.
export function markSubmitted(key) {
  try {
    sessionStorage.setItem(SUBMITTED, key);
  } catch {
    // Without storage there is no draft.
  }
}

function removeSubmitted() {
  const key = sessionStorage.getItem(SUBMITTED);
  if (!key) return;
  sessionStorage.removeItem(SUBMITTED);
  // The form again means a refusal. Whoever opens a job's page after a failure is not redirected.
  const isRedirected = performance.getEntriesByType("navigation")[0]?.redirectCount > 0;
  if (isRedirected && location.pathname.startsWith("/ui/jobs/")) localStorage.removeItem(key);
}

try {
  removeSubmitted();
} catch {
  // Without storage there is no draft.
}
