"""How the form of a new job shows the fields of a specification: one row for every field that there is.

The table is complete: a test compares it with the JSON schema, so that a new field cannot be forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldInfo:
    """The section of a field, its label and a sentence about it."""

    section: str
    label: str
    help: str = ""


# What most jobs of a kind set, in the order of the form. All else is folded into its section.
SHORT = {
    "fusion": ("name", "dataset.name", "num_experts", "fusion.type", "training.epochs", "training.preset"),
    "expert": ("name", "dataset.name", "expert.arch", "expert.from", "training.epochs", "training.preset"),
    "head": ("name", "dataset.name", "fusion.from", "head.type", "training.epochs", "training.preset"),
    "evaluate": ("name", "dataset.name", "fusion.from", "head.from"),
}
# Sections in the order of the form.
SECTIONS = (
    "Job", "Experts", "Fusion", "Head", "Data", "Training", "Loss", "Experts' optimizer", "Fusion optimizer",
    "Head optimizer", "New heads' optimizer", "Augmentation", "Resources", "Checkpoints", "Evaluation",
    "Tracking",
)  # fmt: skip


def _expert(prefix: str) -> dict[str, FieldInfo]:
    return {
        f"{prefix}.arch": FieldInfo("Experts", "Architecture", "a name of the list, or timm:<name>"),
        f"{prefix}.from": FieldInfo("Experts", "Saved expert", "instead: cmp_.. or job_../expert_0"),
        f"{prefix}.dropout": FieldInfo("Experts", "Dropout", "of architectures that have one"),
        f"{prefix}.feature_dim": FieldInfo(
            "Experts", "Feature dimension", "of convnet_small, resnet18 and wideresnet28_10"
        ),
        f"{prefix}.pretrained": FieldInfo("Experts", "Pretrained weights", "of timm alone"),
    }


def _optimizer(component: str, section: str) -> dict[str, FieldInfo]:
    prefix = f"training.components.{component}"
    return {
        f"{prefix}.lr": FieldInfo(section, "Learning rate", "by default that of the fusion type or architecture"),
        f"{prefix}.frozen": FieldInfo(section, "Frozen", "neither weights nor normalisation statistics change"),
        f"{prefix}.optimizer": FieldInfo(section, "Optimizer"),
        f"{prefix}.weight_decay": FieldInfo(section, "Weight decay"),
        f"{prefix}.clip_norm": FieldInfo(section, "Clip norm", "bound on the norm of its gradient; 0: none"),
        f"{prefix}.accumulation_steps": FieldInfo(section, "Accumulation steps", "batches per optimizer step"),
        f"{prefix}.schedule": FieldInfo(section, "Schedule", "of the learning rate, advanced once per epoch"),
        f"{prefix}.schedule.t_max": FieldInfo(section, "T max", "epochs of CosineAnnealingLR; by default all"),
        f"{prefix}.schedule.t_0": FieldInfo(section, "T 0", "epochs until the first warm restart"),
        f"{prefix}.schedule.t_mult": FieldInfo(section, "T mult", "factor of the time between restarts"),
        f"{prefix}.schedule.min_lr_factor": FieldInfo(section, "Lowest factor", "lowest rate / base rate"),
    }


FIELDS: dict[str, FieldInfo] = {
    "name": FieldInfo("Job", "Name"),
    "tags": FieldInfo("Job", "Tags", "separated by commas"),
    "priority": FieldInfo("Job", "Priority", "jobs with a higher one start first"),
    "max_attempts": FieldInfo("Job", "Attempts", "failures in a row without a new checkpoint"),
    "controls": FieldInfo("Job", "Controls", "also train what fusion has to beat; the report compares them"),
    **_expert("experts.*"),
    "num_experts": FieldInfo("Experts", "Number of experts", "with one row above, that many equal ones"),
    **_expert("expert"),
    "expert.shard": FieldInfo("Experts", "Shard", "of the training set, numbered from 0"),
    "fusion.type": FieldInfo("Fusion", "Fusion type", "by default multiplicative"),
    "fusion.from": FieldInfo("Fusion", "Saved fusion", "cmp_.. or job_../fusion; it decides the type"),
    "input_dim": FieldInfo("Fusion", "Fused dimension D", "by default the largest of the experts"),
    "fusion.hidden_dim": FieldInfo("Fusion", "Hidden dimension H", "of the MLP; by default D"),
    "fusion.mlp": FieldInfo("Fusion", "MLP", "without it the fused vector itself is used"),
    "fusion.norm": FieldInfo("Fusion", "LayerNorm", "of every expert's features"),
    "fusion.dropout": FieldInfo("Fusion", "Dropout", "of the MLP and of the attention"),
    "fusion.expert_dropout": FieldInfo("Fusion", "Expert dropout", "training leaves out experts with this probability"),
    "fusion.weights": FieldInfo("Fusion", "Weights of the sum", "of types with a sum"),
    "fusion.heads": FieldInfo("Fusion", "Attention heads", "of TransformerBase; must divide D"),
    "fusion.encoder": FieldInfo("Fusion", "Encoder", "of TransformerBase: two encoder layers"),
    "fusion.encoder_dropout": FieldInfo("Fusion", "Encoder dropout", "of TransformerBase with an encoder"),
    "head.from": FieldInfo("Head", "Saved head", "cmp_.. or job_../head"),
    "head.type": FieldInfo("Head", "Head type", "linear: D to C; mlp: two layers"),
    "head.hidden_dim": FieldInfo("Head", "Hidden dimension", "of mlp alone; by default D"),
    "head.dropout": FieldInfo("Head", "Dropout", "of mlp alone; by default 0.5"),
    "dataset.name": FieldInfo("Data", "Data set", "digits, cifar10, cifar100, imagefolder:<path> or npz:<path>"),
    "dataset.split.regime": FieldInfo("Data", "Split between experts", "how the training set is dealt to the experts"),
    "dataset.split.num_shards": FieldInfo("Data", "Shards"),
    "dataset.split.holdout": FieldInfo("Data", "Hold-out", "fraction that only the fusion phase sees"),
    "dataset.split.shared": FieldInfo("Data", "Shared fraction", "of iid: what all experts see"),
    "dataset.split.beta": FieldInfo("Data", "Beta", "of dirichlet: smaller is more uneven"),
    "dataset.split.val": FieldInfo("Data", "Validation fraction", "selects checkpoints"),
    "dataset.split.seed": FieldInfo("Data", "Seed of the split"),
    "dataset.split.version": FieldInfo("Data", "Version of the split", "1 repeats runs from before version 2"),
    "dataset.image_size": FieldInfo("Data", "Image size", "of image folders alone, in pixels"),
    "training.epochs": FieldInfo("Training", "Epochs"),
    "training.batch_size": FieldInfo("Training", "Batch size"),
    "training.seed": FieldInfo("Training", "Seed"),
    "training.preset": FieldInfo("Training", "Preset", "where values come from that are not given"),
    "training.precision": FieldInfo("Training", "Precision", "auto: bfloat16 where the hardware has it"),
    "training.clip_norm": FieldInfo("Training", "Clip norm", "bound on the norm of all gradients; 0: none"),
    "training.deterministic": FieldInfo("Training", "Deterministic", "the same bits in every run, at some speed"),
    "training.compile": FieldInfo("Training", "Compile", "by default on CUDA alone"),
    "training.select_on": FieldInfo("Training", "Select on", "test only repeats runs that selected on the test set"),
    "training.stages": FieldInfo("Training", "Stages", "a list as JSON; easier to write as text below"),
    "training.gradients": FieldInfo("Training", "Gradients", "of both paths at the experts: summed, or PCGrad"),
    "training.loss.lambda_individual": FieldInfo("Loss", "Lambda", "weight of the experts' own losses"),
    "training.loss.individual_reduction": FieldInfo("Loss", "Reduction", "short form of the types sum and mean"),
    "training.loss.individual.type": FieldInfo("Loss", "Individual loss", "how the experts' own losses are combined"),
    "training.loss.individual.epsilon": FieldInfo("Loss", "Epsilon", "of relaxed: weight that the losers share"),
    "training.loss.individual.temperature": FieldInfo("Loss", "Temperature", "of annealed, at the first step"),
    "training.loss.individual.final_temperature": FieldInfo("Loss", "Final temperature", "of annealed"),
    "training.loss.individual.schedule": FieldInfo("Loss", "Schedule of the temperature", "of annealed"),
    "training.loss.individual.confidence_weight": FieldInfo("Loss", "Confidence weight", "of confident"),
    "training.loss.distillation_weight": FieldInfo("Loss", "Distillation weight"),
    "training.loss.distillation_temperature": FieldInfo("Loss", "Distillation temperature"),
    "training.loss.label_smoothing": FieldInfo("Loss", "Label smoothing"),
    **_optimizer("experts", "Experts' optimizer"),
    **_optimizer("fusion", "Fusion optimizer"),
    **_optimizer("head", "Head optimizer"),
    **_optimizer("expert_heads", "New heads' optimizer"),
    "training.augmentation": FieldInfo("Augmentation", "Augmentation", "auto: the recipe's, with the values below"),
    "training.augmentation.crop_padding": FieldInfo("Augmentation", "Crop padding", "in pixels, reflected"),
    "training.augmentation.flip": FieldInfo("Augmentation", "Horizontal flip"),
    "training.augmentation.color": FieldInfo("Augmentation", "Colour policy"),
    "training.augmentation.jitter": FieldInfo("Augmentation", "Jitter", "brightness, contrast, saturation, hue"),
    "training.augmentation.randaugment": FieldInfo("Augmentation", "RandAugment", "operations, magnitude of 30"),
    "training.augmentation.erasing": FieldInfo("Augmentation", "Erasing", "probability per image"),
    "training.augmentation.mixup_alpha": FieldInfo("Augmentation", "MixUp alpha", "0: no MixUp"),
    "training.augmentation.cutmix_alpha": FieldInfo("Augmentation", "CutMix alpha", "0: no CutMix"),
    "resources.executor": FieldInfo("Resources", "Executor", "local: the service's own machines"),
    "resources.gpus": FieldInfo("Resources", "GPUs", "by default one where there is one"),
    "resources.cpus": FieldInfo("Resources", "CPU threads"),
    "resources.memory_gb": FieldInfo("Resources", "Memory in GiB"),
    "resources.nodes": FieldInfo("Resources", "Nodes", "more than one on Slurm alone"),
    "resources.time_limit_min": FieldInfo("Resources", "Time limit in minutes"),
    "resources.hang_timeout_min": FieldInfo(
        "Resources", "Hang timeout in minutes", "a process that reports nothing for so long is ended"
    ),
    "resources.slurm.partition": FieldInfo("Resources", "Slurm partition"),
    "resources.slurm.account": FieldInfo("Resources", "Slurm account"),
    "resources.slurm.qos": FieldInfo("Resources", "Slurm QOS"),
    "resources.slurm.constraint": FieldInfo("Resources", "Slurm constraint"),
    "resources.slurm.gres": FieldInfo("Resources", "Slurm GRES", "such as gpu:a100:2"),
    "resources.slurm.exclude": FieldInfo("Resources", "Nodes to exclude", "separated by commas"),
    "checkpoint.every_epochs": FieldInfo("Checkpoints", "Every epochs"),
    "checkpoint.every_steps": FieldInfo("Checkpoints", "Every steps"),
    "checkpoint.keep": FieldInfo("Checkpoints", "Keep", "the newest this many"),
    "evaluation.store_predictions": FieldInfo(
        "Evaluation", "Store predictions", "logits on validation and test images"
    ),
    "tracking.wandb.mode": FieldInfo("Tracking", "Weights & Biases", "offline needs no network"),
    "tracking.wandb.project": FieldInfo("Tracking", "Project"),
    "tracking.wandb.entity": FieldInfo("Tracking", "Entity"),
}
