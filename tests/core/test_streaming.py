"""A dataset whose images are read on demand trains and resumes like one in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.core.jobs import expert, run
from tests.core.train.test_fit import same, weights


def write_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (folder / name).mkdir(parents=True)
        for index in range(30):
            pixels = np.clip(rng.normal(level, 30, (12, 14, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


def test_an_image_folder_trains_stops_and_resumes(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    spec = expert(dataset={"name": "imagefolder:images", "image_size": 8}, epochs=4, batch_size=16)
    spec["resources"] = {"cpus": 2}
    straight = run(spec, tmp_path / "straight", data_roots=[tmp_path])
    assert straight.metrics["test/accuracy_expert_0"] > 0.9
    stops = iter([False, False, True])
    assert run(spec, tmp_path / "run", data_roots=[tmp_path], should_stop=lambda: next(stops)).step == 3
    assert run(spec, tmp_path / "run", data_roots=[tmp_path]).metrics == straight.metrics
    assert same(weights(tmp_path / "straight"), weights(tmp_path / "run"))
