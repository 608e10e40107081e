"""The patterns of parameters and headers, and what each demands in words."""

from __future__ import annotations

CURSOR = "^[A-Za-z0-9_-]+$"
# An empty key would be one key for every client whose variable is not set.
IDEMPOTENCY_KEY = "^[ -~]+$"
EVENT_ID = "^[0-9]{1,18}$"
# The id of a job, and one of its paths.
MODEL = "^[A-Za-z0-9_]{1,64}(:[a-z0-9_]{1,32})?$"
MESSAGES = {
    CURSOR: "must be `next_cursor` of the previous page; leave it out for the first page",
    IDEMPOTENCY_KEY: "must be at least one character, and only letters, digits, spaces and marks of ASCII",
    EVENT_ID: "must be the id of an event, a whole number of at most 18 digits",
    MODEL: "must be the id of a job, or id and path such as job_01J..:ensemble_logits",
}
