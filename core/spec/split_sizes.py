"""Whether a split is possible, from the size of its dataset alone."""

from __future__ import annotations

from core.spec.dataset import Split, default_holdout
from core.spec.fields import InvalidField

# One image to train on and one for validation.
MIN_IMAGES = 2


def split_error(split: Split, num_train: int, num_classes: int) -> InvalidField | None:
    """The field of `dataset.split` that makes a split of `num_train` training images impossible, and why.

    None for a possible split. How many images a shard of `class_shards` or `dirichlet` has depends on the labels:
    `shard_error` checks that once they are known.
    """
    holdout = default_holdout(split.regime) if split.holdout is None else split.holdout
    held_out = round(num_train * holdout)
    if held_out == 0 and split.regime != "full":
        return InvalidField(
            "holdout",
            f"holdout {holdout:g} of {num_train:,} images leaves none for the fusion phase; regime {split.regime} "
            "needs at least one (only regime full allows both phases to use the same images)",
        )
    if split.regime == "class_shards" and split.num_shards > num_classes:
        return InvalidField(
            "num_shards",
            f"class_shards gives every shard whole classes: {split.num_shards} shards of {num_classes} classes is "
            f"impossible; use at most {num_classes} shards",
        )
    if (message := _shards_error(split, num_train - held_out)) is not None:
        return InvalidField("holdout" if num_train - held_out < MIN_IMAGES else "num_shards", message)
    message = _images_error(f"the fusion phase (holdout {holdout:g})", held_out or num_train)
    return None if message is None else InvalidField("holdout", message)


def shard_error(split: Split, shard: int, num_images: int) -> str | None:
    """One sentence if a shard has too few images."""
    return _images_error(f"shard {shard} (regime {split.regime})", num_images)


def shard_size(split: Split, shard: int, total: int) -> tuple[int, bool]:
    """The number of images that a shard has of the experts' `total`, and whether that is exact or an estimate."""
    if split.regime == "full":
        return total, True
    if split.regime == "iid":
        shared = round(total * split.shared)
        rest, left_over = divmod(total - shared, split.num_shards)
        return shared + rest + (shard < left_over), True
    return round(total / split.num_shards), False


def _shards_error(split: Split, total: int) -> str | None:
    # The last shard is the smallest one.
    smallest, exact = shard_size(split, split.num_shards - 1, total)
    if exact:
        if smallest >= MIN_IMAGES:
            return None
        sizes = (shard_size(split, shard, total)[0] for shard in range(split.num_shards))
        return next(error for shard, size in enumerate(sizes) if (error := shard_error(split, shard, size)))
    if total >= MIN_IMAGES * split.num_shards:
        return None
    shards = "1 shard" if split.num_shards == 1 else f"{split.num_shards:,} shards"
    return (
        f"the hold-out leaves {_count(total)} for {shards} (regime {split.regime}); each needs at least {MIN_IMAGES}, "
        "one of them for validation"
    )


def _images_error(name: str, count: int) -> str | None:
    if count >= MIN_IMAGES:
        return None
    return f"{name} has {_count(count)}; at least {MIN_IMAGES} are needed, one of them for validation"


def _count(images: int) -> str:
    return "1 image" if images == 1 else f"{images:,} images"
