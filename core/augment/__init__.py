"""Augmentation of whole batches on the device, each image with parameters of its own."""

from __future__ import annotations

from core.augment.batch import BatchAugment, normalize

__all__ = ["BatchAugment", "normalize"]
