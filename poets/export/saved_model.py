"""Writes the SavedModel for TensorFlow Serving, which takes image bytes.

    signature        input                         outputs
    serving_default  image: string []              prediction [1, L], classes [L]
    serving_bytes    image_bytes: string [N]       prediction [N, L], classes [N, L]
    serving_images   images: float32 [N, S, S, 3]  prediction [N, L], classes [N, L]

`serving_default` is the original script's signature. Its outputs do not share a
dimension, so REST requests with `instances` cannot use it; the other two are for them.
`images` are scaled for the backbone, as for `input:0` of the graph. The builder and
the control flow are those of TensorFlow 1, which every version loads.
"""

from typing import Any

from poets.backbones.graph import scale
from poets.classifier.with_tensorflow import SavedModelClassifier
from poets.errors import StorageError
from poets.export import TrainedModel
from poets.export.graph import (
    CONTENTS_NAME,
    add_classifier,
    control_flow_v1,
    decode_and_resize,
)
from poets.export.verify import Check, Samples, compare, worst
from poets.system.runtime import tf, v1

METHOD = "tensorflow/serving/predict"


def build(model: TrainedModel, path: str) -> None:
    """Writes a SavedModel into a local folder that does not exist yet.

    Raises:
      StorageError: if it cannot be written, usually because the disk is full.
    """
    backbone = model.backbone
    with tf.Graph().as_default(), control_flow_v1():
        contents = v1.placeholder(tf.string, [], name=CONTENTS_NAME)
        batch = v1.placeholder_with_default(
            tf.expand_dims(contents, 0), [None], name="image_bytes"
        )
        pixels = v1.map_fn(
            lambda one: decode_and_resize(one, backbone.image_size_px)[0],
            batch,
            dtype=tf.float32,
        )
        images = v1.placeholder_with_default(
            scale(pixels, backbone), [None, *pixels.shape[1:]], name=backbone.input_name
        )
        prediction = add_classifier(images, model)
        classes = tf.constant(model.labels, name="classes")
        rows = tf.tile(tf.expand_dims(classes, 0), [tf.shape(prediction)[0], 1])
        many = {"prediction": prediction, "classes": rows}
        signatures = {
            "serving_default": _signature(
                {"image": contents}, {"prediction": prediction, "classes": classes}
            ),
            "serving_bytes": _signature({"image_bytes": batch}, many),
            "serving_images": _signature({"images": images}, many),
        }
        with v1.Session() as session:
            builder = v1.saved_model.Builder(path)
            builder.add_meta_graph_and_variables(
                session, ["serve"], signatures, strip_default_attrs=True
            )
            try:
                builder.save()
            except tf.errors.OpError as error:
                raise StorageError(
                    f"cannot write the SavedModel to the temporary folder {path!r}: "
                    f"{error.message}; free some space, or set TMPDIR to another folder"
                ) from error


def check(path: str, model: TrainedModel, samples: Samples) -> Check:
    """Scores a SavedModel at its two signatures for image bytes.

    Raises:
      ModelError: if a label differs.
    """
    classifier = SavedModelClassifier(path)
    plain = samples.plain()
    few = plain.few()
    return worst(
        compare(
            "the SavedModel's serving_default",
            few,
            lambda: [classifier.predict_bytes(data) for data in few.contents],
        ),
        compare(
            "the SavedModel's serving_bytes",
            plain,
            lambda: classifier.run("serving_bytes", list(plain.contents))["prediction"],
        ),
    )


def _signature(inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    info = v1.saved_model.utils.build_tensor_info
    return v1.saved_model.build_signature_def(
        {name: info(tensor) for name, tensor in inputs.items()},
        {name: info(tensor) for name, tensor in outputs.items()},
        METHOD,
    )
