"""Downloads of stored predictions: the `.npz` file itself, or the same arrays as `.safetensors`."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

import numpy as np
from starlette.responses import Response

from app.http.errors import Invalid, NotFound
from app.http.files import file_headers, file_response, not_modified
from app.results.predictions.stored import StoredSplit

Format = Literal["npz", "safetensors"]
# A conversion is held in memory.
MAX_CONVERTED_BYTES = 256 << 20


def predictions_response(stored: StoredSplit, format: Format, if_none_match: str) -> Response:
    """The predictions of a split in a format, or 304 if the client has them already.

    Invalid for a file that is too large to be converted.
    """
    if format == "safetensors":
        return _converted(stored, if_none_match)
    headers = file_headers(stored.entry["sha256"], f"{stored.split}.npz")
    if unchanged := not_modified(headers, if_none_match):
        return unchanged
    try:
        status = stored.file.stat()
    except FileNotFoundError:
        raise NotFound(f"the predictions of {stored.job_id} have been deleted from its run directory") from None
    return file_response(stored.file, headers, status)


def _converted(stored: StoredSplit, if_none_match: str) -> Response:
    # Imported here, so that a service that converts nothing does not load it.
    from safetensors.numpy import save

    if stored.entry["bytes"] > MAX_CONVERTED_BYTES:
        raise Invalid(
            f"these predictions have {stored.entry['bytes'] / 2**20:,.0f} MiB, and at most "
            f"{MAX_CONVERTED_BYTES >> 20} MiB are converted: download them with format=npz"
        )
    arrays = {name: np.ascontiguousarray(array) for name, array in stored.all_arrays().items()}
    source = {"job": stored.job_id, "split": stored.split, "dataset": stored.entry["dataset"]}
    # With several entries the library writes them in any order, and every download would have another digest.
    content = save(arrays, {"source": json.dumps(source)})
    headers = file_headers(hashlib.sha256(content).hexdigest(), f"{stored.split}.safetensors")
    return not_modified(headers, if_none_match) or Response(
        content, headers=headers, media_type="application/octet-stream"
    )
