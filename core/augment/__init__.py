"""Augmentation of whole batches on the device, with parameters drawn per image."""

from __future__ import annotations

from core.augment.batch import BatchAugment, normalize

__all__ = ["BatchAugment", "normalize"]
