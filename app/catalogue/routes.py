"""What there is to choose from."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.auth.principals import Viewer
from app.http.session import Configured
from app.settings import Settings
from core.spec import ARCHITECTURES, FUSION_TYPES, fusion_options
from core.spec.catalogue import DATASET_FACTS
from core.spec.recipes import dimension_factors

router = APIRouter()


@router.get("/catalogue", tags=["catalogue"])
def get_catalogue(_asks: Viewer, settings: Configured) -> dict[str, Any]:
    """Architectures, fusion types and data sets."""
    return {
        "architectures": {
            name: {
                "feature_dim": facts.feature_dim,
                "parameters_at_100_classes": facts.parameters,
                "about": facts.about,
                "recipe": _recipe(name),
            }
            for name, facts in ARCHITECTURES.items()
        }
        | {"timm:<name>": {"about": "any timm backbone; its feature dimension is detected"}},
        "fusion_types": {
            name: {
                "options": fusion_options(name),
                "learning_rates": {"experts": recipe.lr_experts, "fusion": recipe.lr_fusion, "head": recipe.lr_fusion},
                "weight_decay": recipe.weight_decay,
                "label_smoothing": recipe.label_smoothing,
                "augmentation": recipe.augmentation.model_dump(mode="json"),
            }
            for name, recipe in ((name, info.recipe) for name, info in FUSION_TYPES.items())
        },
        "dimension_rule": {
            "below 100": dict(zip(("experts", "fusion_and_head"), dimension_factors(99), strict=True)),
            "above 1000": dict(zip(("experts", "fusion_and_head"), dimension_factors(1001), strict=True)),
        },
        "datasets": {name: _dataset(name, settings) for name in DATASET_FACTS}
        | {
            kind: {"available": True, "about": f"`{kind}:<path>` under {', '.join(map(str, settings.roots))}"}
            for kind in ("imagefolder", "npz")
        },
    }


def _recipe(arch: str) -> dict[str, Any]:
    recipe = ARCHITECTURES[arch].recipe
    return {
        "optimizer": recipe.optimizer,
        "lr": recipe.lr,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "weight_decay": recipe.weight_decay,
        "augmentation": recipe.augmentation.model_dump(mode="json"),
    }


def _dataset(name: str, settings: Settings) -> dict[str, Any]:
    facts = DATASET_FACTS[name]
    about = {"classes": facts.classes, "train": facts.train, "test": facts.test}
    if facts.place is None or facts.archive is None:
        return {"available": True, **about}
    places = [root / part for root in settings.roots for part in (facts.place, facts.archive)]
    if any(place.exists() for place in places):
        return {"available": True, **about}
    where = " or ".join(str(root) for root in settings.roots)
    return {
        "available": False,
        "put": f"{facts.archive} into {where} (it is downloaded if the network allows)",
        **about,
    }
