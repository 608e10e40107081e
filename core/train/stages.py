"""Applies the stages of a plan to model, optimizers and loss as the epochs go by."""

from __future__ import annotations

from torch import Tensor, nn

from core.losses import DualPathLoss, LossParts
from core.model.model import MultiExpertModel
from core.plan.plan import Plan
from core.policies import ComponentOptimizers
from core.runtime import Runtime
from core.spec.stage_settings import StageSettings
from core.train.gradient_cosine import measure_cosine
from core.train.two_losses import COSINE, backward_with_projection, has_individual_loss


class Stages:
    """The stage of the current epoch: the model as it is called in training, and the loss.

    `start_epoch` must be called before anything else. A training without stages is one stage.
    """

    settings: StageSettings
    forward: nn.Module
    criterion: DualPathLoss

    def __init__(
        self,
        plan: Plan,
        model: MultiExpertModel,
        optimizers: ComponentOptimizers,
        runtime: Runtime,
        *,
        compiled: bool,
    ) -> None:
        self._plan = plan
        self._model = model
        self._optimizers = optimizers
        self._runtime = runtime
        self._compiled = compiled
        self._current: StageSettings | None = None

    def start_epoch(self, epoch: int) -> bool:
        """Starts an epoch, counted from 0; whether it is the first one of its stage."""
        settings = next(stage for stage in self._plan.stages if stage.start <= epoch < stage.stop)
        if settings is not self._current:
            self._enter(settings)
        self._optimizers.start_epoch(epoch)
        return epoch == settings.start

    def _enter(self, settings: StageSettings) -> None:
        previous, self._current, self.settings = self._current, settings, settings
        self.criterion = DualPathLoss.from_spec(settings.loss)
        self._model.freeze(settings.frozen)
        self._optimizers.start_stage(settings.trained_rates())
        if previous is not None and previous.frozen == settings.frozen:
            return
        if previous is not None:
            self._runtime.release(self.forward)
        self.forward = self._runtime.prepare(
            self._model, compiled=self._compiled, two_backward_passes=self.projects_gradients
        )

    @property
    def announcement(self) -> str:
        """A line for the log at the beginning of a stage."""
        return f"stage {self.settings.number} of {len(self._plan.stages)}: {self.settings.describe()}"

    @property
    def experts_trained(self) -> bool:
        """Whether this stage trains the experts, and so has their individual loss."""
        return "experts" not in self.settings.frozen

    @property
    def projects_gradients(self) -> bool:
        """Whether conflicts between both paths' gradients are removed in this stage."""
        return self._plan.spec.training.gradients == "pcgrad" and self.experts_trained

    @property
    def untrained_heads(self) -> tuple[int, ...]:
        """The experts whose new heads no stage has trained up to and including this one."""
        past = self._plan.stages[: self.settings.number]
        return self._plan.new_heads if all("experts" in stage.frozen for stage in past) else ()

    def ends_with(self, epoch: int) -> bool:
        """Whether this epoch is the last one of its stage."""
        return epoch + 1 == self.settings.stop

    def progress(self, step: int, steps_per_epoch: int) -> float:
        """The part of the steps that train the experts that is done, from 0 at the first to 1 at the last of them.

        A function of the step alone, so that a resumed run has no state to restore. Without frozen experts it is the
        part of the training.
        """
        total = done = 0
        for stage in self._plan.stages:
            if "experts" not in stage.frozen:
                length = (stage.stop - stage.start) * steps_per_epoch
                total += length
                done += min(max(0, step - stage.start * steps_per_epoch), length)
        return min(1.0, done / max(1, total - 1))

    def backward(self, loss: LossParts, *, first: bool) -> dict[str, Tensor]:
        """Adds the gradient of a batch; returns what is measured along with it, by metric key.

        The cosine is that of the first batch of an epoch only, as without projection.
        """
        if self.projects_gradients:
            values = backward_with_projection(self._model, self.criterion, loss, self._runtime)
            return values if first else {key: value for key, value in values.items() if key != COSINE}
        loss.total.backward()
        return {}

    def measure(
        self, images_BCHW: Tensor, targets: Tensor, present_BK: Tensor | None, *, step: int, progress: float
    ) -> dict[str, Tensor]:
        """Measured by itself on the first batch of an epoch, by metric key; B images with targets of the loss.

        `present_BK` says which experts each image has; see `progress`.
        """
        both_paths = self._model.head is not None and self.experts_trained
        if not both_paths or self.projects_gradients:
            return {}
        if not has_individual_loss(self.criterion, len(self._model.experts)):
            return {}
        seed = self._plan.spec.training.seed
        return measure_cosine(
            self._model,
            self.criterion,
            images_BCHW,
            targets,
            self._runtime,
            seed=seed,
            step=step,
            progress=progress,
            present_BK=present_BK,
        )
