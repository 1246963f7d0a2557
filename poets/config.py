"""The flags of a retraining job, as one table: `RetrainConfig`.

Each field is a flag, with its default, its help and its range. `poets.flags` derives
the command line, the DC/OS context and the documents from it. Modules below `cli` and
`job` see neither argparse nor unparsed strings.

The groups on files, training and distortions are the flags of both generations of the
original `retrain.py`, with their defaults; the others are ours.
"""

import dataclasses
from typing import Any

MODEL_URL = "https://storage.googleapis.com/download.tensorflow.org/models"
"""The site of the original archives; `--model_url` names a mirror."""


def flag(default: Any, group: str, text: str, **rules: Any) -> Any:
    """Returns a dataclass field with the metadata of a flag.

    Args:
      default: the value if the flag is not given; its type is the flag's.
      group: the heading in `--help`.
      text: one sentence for `--help`.
      **rules: `at_least`, `at_most`, `above` (numbers); `choices` (names, compared
        in lower case); `required` (may not be empty); `or_all` (-1 is allowed and
        means all); `variable` (the environment variable that passes the flag to the
        storage and to child processes); `of_a_task` (tasks of one job may differ in
        it, as in each `variable`).
    """
    metadata = {"group": group, "help": text, **rules}
    return dataclasses.field(default=default, metadata=metadata)


FILES, STORAGE, TRAINING, DISTORTIONS, FINE_TUNING, OURS = (
    "files and folders",
    "access to HDFS",
    "training",
    "distortions",
    "fine-tuning",
    "beyond the original",
)


@dataclasses.dataclass(frozen=True)
class RetrainConfig:
    """What to retrain, on what, and where the results go."""

    image_dir: str = flag(
        "", FILES, "folder with one folder of images per label", required=True
    )
    labels_csv: str = flag(
        "",
        FILES,
        "table of the images' labels, CSV or JSON lines with the columns file_name, "
        "label and perhaps split, instead of folders; metadata.csv and .jsonl in "
        "--image_dir are found by themselves",
    )
    output_dir: str = flag(
        "",
        FILES,
        "folder of all results for which no other flag is given; features and networks "
        "are then stored in POETS_CACHE, or the user's cache folder",
    )
    output_graph: str = flag(
        "/tmp/output_graph.pb", FILES, "the retrained graph", required=True
    )
    intermediate_output_graphs_dir: str = flag(
        "/tmp/intermediate_graph/", FILES, "prefix of the intermediate graphs"
    )
    intermediate_store_frequency: int = flag(
        0, FILES, "steps between intermediate graphs; 0 stores none", at_least=0
    )
    output_labels: str = flag(
        "/tmp/output_labels.txt",
        FILES,
        "the graph's labels, one per line",
        required=True,
    )
    summaries_dir: str = flag(
        "/tmp/retrain_logs", FILES, "TensorBoard events, in train/ and validation/"
    )
    model_dir: str = flag(
        "/tmp/imagenet",
        FILES,
        "folder of pretrained networks, which are downloaded if missing",
        of_a_task=True,
    )
    bottleneck_dir: str = flag(
        "/tmp/bottleneck", FILES, "feature store, shared by all runs", required=True
    )
    saved_model_dir: str = flag(
        "/tmp/saved_models/1/", FILES, "folder of the SavedModel; empty: no export"
    )
    checkpoint_path: str = flag(
        "/tmp/_retrain_checkpoint", FILES, "checkpoint of the head; empty: none"
    )
    architecture: str = flag(
        "inception_v3",
        FILES,
        "pretrained network by name; several, joined by +, are used side by side",
    )
    tfhub_module: str = flag(
        "",
        FILES,
        "TensorFlow Hub handle, SavedModel folder, or .keras or .h5 file, instead of "
        "--architecture",
    )
    onnx: bool = flag(
        False, FILES, "also write the graph's .onnx, beside it; needs poets[onnx]"
    )
    final_tensor_name: str = flag(
        "final_result", FILES, "name of the graph's output", required=True
    )

    hadoop_conf: str = flag(
        "",
        STORAGE,
        "folder, or http(s):// folder, with core-site.xml and hdfs-site.xml",
        variable="POETS_HADOOP_CONF",
    )
    kerberos_principal: str = flag(
        "", STORAGE, "our principal on HDFS", variable="POETS_KERBEROS_PRINCIPAL"
    )
    kerberos_keytab: str = flag(
        "", STORAGE, "file with the principal's keys", variable="KRB5_CLIENT_KTNAME"
    )

    how_many_training_steps: int = flag(
        4000, TRAINING, "training steps", at_least=1, at_most=100_000_000
    )
    learning_rate: float = flag(0.01, TRAINING, "learning rate", above=0)
    testing_percentage: int = flag(
        10, TRAINING, "percentage of images in the test split", at_least=1, at_most=98
    )
    validation_percentage: int = flag(
        10,
        TRAINING,
        "percentage of images in the validation split",
        at_least=1,
        at_most=98,
    )
    eval_step_interval: int = flag(
        10, TRAINING, "steps between evaluations", at_least=1
    )
    train_batch_size: int = flag(100, TRAINING, "images per training step", at_least=1)
    test_batch_size: int = flag(
        -1, TRAINING, "images in the final test; -1: all", at_least=1, or_all=True
    )
    validation_batch_size: int = flag(
        100, TRAINING, "images in an evaluation; -1: all", at_least=1, or_all=True
    )
    print_misclassified_test_images: bool = flag(
        False, TRAINING, "log the test images that are misclassified"
    )

    flip_left_right: bool = flag(False, DISTORTIONS, "mirror half of the copies")
    random_crop: int = flag(
        0, DISTORTIONS, "margin to crop off, in percent", at_least=0, at_most=400
    )
    random_scale: int = flag(
        0, DISTORTIONS, "how much to scale up, in percent", at_least=0, at_most=400
    )
    random_brightness: int = flag(
        0,
        DISTORTIONS,
        "how much to vary brightness, in percent",
        at_least=0,
        at_most=99,
    )
    augmentations: int = flag(
        4, DISTORTIONS, "distorted copies of each training image", at_least=1
    )

    fine_tune_steps: int = flag(
        0,
        FINE_TUNING,
        "steps of fine-tuning the last layers of the network, after the head; 0: none",
        at_least=0,
        at_most=100_000_000,
    )
    fine_tune_layers: int = flag(
        3,
        FINE_TUNING,
        "number of layers to fine-tune: the last ones with weights",
        at_least=1,
    )
    fine_tune_learning_rate: float = flag(
        0.0003, FINE_TUNING, "learning rate of Adam", above=0
    )
    fine_tune_batch_size: int = flag(
        100, FINE_TUNING, "images per step, on each worker", at_least=1
    )

    seed: int = flag(
        0, OURS, "random seed of weights, batches and distortions", at_least=0
    )
    split: str = flag(
        "auto",
        OURS,
        "how images are split into training, validation and test. folders: by folders "
        "named train or training, val, valid, validation or dev, test or testing, with "
        "the labels in them; a missing split is taken from train by the percentages. "
        "hash: each folder below --image_dir is a label, and images are split by name "
        "and content. auto: folders if two so named hold the same labels, else hash",
        choices=("auto", "folders", "hash"),
    )
    split_seed: int = flag(0, OURS, "seed of the split by hash", at_least=0)
    group_near_duplicates: bool = flag(
        False,
        OURS,
        "keep files that show the same picture in one split, also mirrored, cropped or "
        "scaled ones; reads the pictures whose bottlenecks are most similar",
    )
    class_weights: str = flag(
        "none",
        OURS,
        "balanced: every label has the same weight",
        choices=("none", "balanced"),
    )
    head: str = flag(
        "sgd",
        OURS,
        "how the head is trained. sgd: by training steps. best: also by discriminant "
        "analysis, with a shrinkage chosen by cross-validation on the training images; "
        "the head of the steps is kept if it is clearly better on validation",
        choices=("sgd", "best"),
    )
    patience: int = flag(
        0,
        OURS,
        "evaluations without a better validation accuracy before stopping; 0: never",
        at_least=0,
    )
    calibrate: bool = flag(
        True,
        OURS,
        "divide the logits by a temperature chosen on validation, so that scores are "
        "probabilities; answers keep their order. off: the original's scores",
    )
    wanted_accuracy: float = flag(
        0.95,
        OURS,
        "accuracy of answers at or above the reject threshold, which is chosen on "
        "validation and stored in metrics.json",
        above=0,
        at_most=1,
    )
    engine: str = flag(
        "auto",
        OURS,
        "library that computes bottlenecks",
        choices=("auto", "litert", "tensorflow"),
    )
    processes: int = flag(
        0,
        OURS,
        "processes that compute bottlenecks; 0: as many as cores and memory allow",
        at_least=0,
        of_a_task=True,
    )
    chief_timeout_s: int = flag(
        600,
        OURS,
        "seconds that workers wait for a lost chief to return",
        at_least=1,
        of_a_task=True,
    )
    verify_bottlenecks: bool = flag(
        False, OURS, "read every image again to compare it with its stored bottleneck"
    )
    report: bool = flag(
        True,
        OURS,
        "write report.html, a page on the run with pictures, beside the graph",
    )
    input_size_px: int = flag(
        0,
        OURS,
        "image size in pixels for a --tfhub_module without a fixed size",
        at_least=0,
        at_most=2048,
    )
    model_url: str = flag(
        MODEL_URL, OURS, "where the archives of --architecture are downloaded from"
    )
    logging_verbosity: str = flag(
        "INFO",
        OURS,
        "log level",
        choices=("DEBUG", "INFO", "WARN", "ERROR", "FATAL"),
        of_a_task=True,
    )

    @property
    def environment(self) -> dict[str, str]:
        """Variable -> value of the flags passed on through the environment."""
        return {
            field.metadata["variable"]: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if "variable" in field.metadata and getattr(self, field.name)
        }

    @property
    def of_the_job(self) -> dict[str, Any]:
        """Name -> value of the flags that must be equal in all tasks of a job."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if not {"variable", "of_a_task"} & field.metadata.keys()
        }

    @property
    def distorts(self) -> bool:
        """Whether the flags ask for distorted copies."""
        return bool(
            self.flip_left_right
            or self.random_crop
            or self.random_scale
            or self.random_brightness
        )

    @property
    def backbone_name(self) -> str:
        """The network's name as the user gave it."""
        return self.tfhub_module or self.architecture
