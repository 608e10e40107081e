"""The route of the catalogue: architectures, fusion types and datasets that a job specification can name."""

from __future__ import annotations

from fastapi import APIRouter

from app.auth.principals import Viewer
from app.catalogue.schemas import ArchitectureView, CatalogueView, DatasetView, ExpertRecipeView, FusionTypeView
from app.http.session import Configured
from app.settings import Settings
from core.spec import ARCHITECTURES, FUSION_TYPES, fusion_options
from core.spec.catalogue import DATASET_FACTS
from core.spec.recipes import dimension_factors

router = APIRouter()


@router.get("/catalogue", tags=["catalogue"], response_model_exclude_unset=True)
def get_catalogue(_principal: Viewer, settings: Configured) -> CatalogueView:
    """List architectures, fusion types and datasets with their defaults."""
    return CatalogueView(
        architectures={name: _architecture(name) for name in ARCHITECTURES}
        | {"timm:<name>": ArchitectureView(about="any timm backbone; its feature dimension is detected")},
        fusion_types={name: _fusion_type(name) for name in FUSION_TYPES},
        dimension_rule={"below 100": _factors(99), "above 1000": _factors(1001)},
        datasets={name: _dataset(name, settings) for name in DATASET_FACTS}
        | {kind: _dataset_family(kind, settings) for kind in ("imagefolder", "npz")},
    )


def _architecture(name: str) -> ArchitectureView:
    facts = ARCHITECTURES[name]
    recipe = facts.recipe
    return ArchitectureView(
        about=facts.about,
        feature_dim=facts.feature_dim,
        parameters_at_100_classes=facts.parameters,
        recipe=ExpertRecipeView(
            optimizer=recipe.optimizer,
            lr=recipe.lr,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            weight_decay=recipe.weight_decay,
            augmentation=recipe.augmentation.model_dump(mode="json"),
        ),
    )


def _fusion_type(name: str) -> FusionTypeView:
    recipe = FUSION_TYPES[name].recipe
    return FusionTypeView(
        options=fusion_options(name),
        learning_rates={"experts": recipe.lr_experts, "fusion": recipe.lr_fusion, "head": recipe.lr_fusion},
        weight_decay=recipe.weight_decay,
        label_smoothing=recipe.label_smoothing,
        augmentation=recipe.augmentation.model_dump(mode="json"),
    )


def _factors(input_dim: int) -> dict[str, float]:
    return dict(zip(("experts", "fusion_and_head"), dimension_factors(input_dim), strict=True))


def _dataset(name: str, settings: Settings) -> DatasetView:
    facts = DATASET_FACTS[name]
    view = DatasetView(available=True, classes=facts.classes, train=facts.train, test=facts.test)
    if facts.folder is None or facts.archive is None:
        return view
    if any((root / file).exists() for root in settings.roots for file in (facts.folder, facts.archive)):
        return view
    roots = " or ".join(str(root) for root in settings.roots)
    put = f"{facts.archive} into {roots} (it is downloaded if the network permits)"
    return view.model_copy(update={"available": False, "put": put})


def _dataset_family(kind: str, settings: Settings) -> DatasetView:
    return DatasetView(available=True, about=f"`{kind}:<path>` below {', '.join(map(str, settings.roots))}")
