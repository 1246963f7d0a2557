"""The messages of TensorFlow Serving that we read and write.

The package tensorflow-serving-api has them, too, but needs TensorFlow: seconds at the
start, and half a gigabyte. Here they are a table of names and numbers, from the .proto
files of tensorflow/core/framework and tensorflow_serving/apis. Fields that we do not
use are absent; protobuf passes over them. The pool is our own, so that a program may
load TensorFlow's messages as well.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "poets.serving"  # messages have no names on the wire

# field: (number, type); [type] is repeated, {type} a map from strings to it. Enums are
# int32, which is the same on the wire.
FIELDS: dict[str, dict[str, tuple[int, Any]]] = {
    "Int64Value": {"value": (1, "int64")},
    "Any": {"type_url": (1, "string"), "value": (2, "bytes")},
    "Dim": {"size": (1, "int64"), "name": (2, "string")},
    "TensorShape": {"dim": (2, ["Dim"]), "unknown_rank": (3, "bool")},
    "Tensor": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "TensorShape"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, ["float"]),
        "string_val": (8, ["bytes"]),
    },
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "Int64Value"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    "PredictRequest": {
        "model_spec": (1, "ModelSpec"),
        "inputs": (2, {"Tensor"}),
        "output_filter": (3, ["string"]),
    },
    "PredictResponse": {"outputs": (1, {"Tensor"}), "model_spec": (2, "ModelSpec")},
    "BytesList": {"value": (1, ["bytes"])},
    "Feature": {"bytes_list": (1, "BytesList")},
    "Features": {"feature": (1, {"Feature"})},
    "Example": {"features": (1, "Features")},
    "ExampleList": {"examples": (1, ["Example"])},
    "Input": {
        "example_list": (1, "ExampleList"),
        "example_list_with_context": (2, "ExampleList"),
    },
    "ClassificationRequest": {"model_spec": (1, "ModelSpec"), "input": (2, "Input")},
    "Class": {"label": (1, "string"), "score": (2, "float")},
    "Classifications": {"classes": (1, ["Class"])},
    "ClassificationResult": {"classifications": (1, ["Classifications"])},
    "ClassificationResponse": {
        "result": (1, "ClassificationResult"),
        "model_spec": (2, "ModelSpec"),
    },
    "GetModelMetadataRequest": {
        "model_spec": (1, "ModelSpec"),
        "metadata_field": (2, ["string"]),
    },
    "GetModelMetadataResponse": {
        "model_spec": (1, "ModelSpec"),
        "metadata": (2, {"Any"}),
    },
    "TensorInfo": {
        "name": (1, "string"),
        "dtype": (2, "int32"),
        "tensor_shape": (3, "TensorShape"),
    },
    "SignatureDef": {
        "inputs": (1, {"TensorInfo"}),
        "outputs": (2, {"TensorInfo"}),
        "method_name": (3, "string"),
    },
    "SignatureDefMap": {"signature_def": (1, {"SignatureDef"})},
    "GetModelStatusRequest": {"model_spec": (1, "ModelSpec")},
    "Status": {"error_code": (1, "int32"), "error_message": (2, "string")},
    "ModelVersionStatus": {
        "version": (1, "int64"),
        "state": (2, "int32"),
        "status": (3, "Status"),
    },
    "GetModelStatusResponse": {"model_version_status": (1, ["ModelVersionStatus"])},
}

DT_FLOAT, DT_STRING = 1, 7
"""Values of tensorflow.DataType."""

STATES = {"UNKNOWN": 0, "START": 10, "LOADING": 20, "AVAILABLE": 30, "END": 50}
"""Values of tensorflow.serving.ModelVersionStatus.State."""

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _FIELD.TYPE_BOOL,
    "bytes": _FIELD.TYPE_BYTES,
    "float": _FIELD.TYPE_FLOAT,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "string": _FIELD.TYPE_STRING,
}


def _built() -> dict[str, Any]:
    """Returns name -> class of each message in FIELDS."""
    file = descriptor_pb2.FileDescriptorProto(
        name="poets/serving.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            repeated = not isinstance(kind, str)
            of = next(iter(kind)) if repeated else kind
            if isinstance(kind, set):
                of = _add_entry(message, name, field, of)
            _add_field(message, field, number, of, repeated)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{PACKAGE}.{name}")
        )
        for name in FIELDS
    }


def _add_entry(message: Any, name: str, field: str, of: str) -> str:
    """Adds the nested message that a map's entries are; returns its name."""
    entry = message.nested_type.add(name=f"{field.title().replace('_', '')}Entry")
    entry.options.map_entry = True
    _add_field(entry, "key", 1, "string", False)
    _add_field(entry, "value", 2, of, False)
    return f"{name}.{entry.name}"


def _add_field(message: Any, name: str, number: int, of: str, repeated: bool) -> None:
    label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
    field = message.field.add(name=name, number=number, label=label)
    if of in _SCALARS:
        field.type = _SCALARS[of]
    else:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{PACKAGE}.{of}"


MESSAGES = _built()
"""Name -> class."""
