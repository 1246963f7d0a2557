"""The messages of TensorFlow Serving that we read and write.

The package tensorflow-serving-api has them, too, but needs TensorFlow: seconds at the
start, and half a gigabyte. Here they are from the .proto files of
tensorflow/core/framework and tensorflow_serving/apis. Fields that we do not use are
absent; protobuf passes over them. The pool is our own, so that a program may load
TensorFlow's messages as well.
"""

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "poets.serving"  # messages have no names on the wire

# Enums are int32, which is the same on the wire.
PROTO = """
message Int64Value { int64 value = 1; }
message Any { string type_url = 1; bytes value = 2; }
message Dim { int64 size = 1; string name = 2; }
message TensorShape { repeated Dim dim = 2; bool unknown_rank = 3; }
message Tensor {
  int32 dtype = 1;
  TensorShape tensor_shape = 2;
  bytes tensor_content = 4;
  repeated float float_val = 5;
  repeated bytes string_val = 8;
}
message ModelSpec {
  string name = 1;
  Int64Value version = 2;
  string signature_name = 3;
  string version_label = 4;
}
message PredictRequest {
  ModelSpec model_spec = 1;
  map<string, Tensor> inputs = 2;
  repeated string output_filter = 3;
}
message PredictResponse { map<string, Tensor> outputs = 1; ModelSpec model_spec = 2; }
message BytesList { repeated bytes value = 1; }
message Feature { BytesList bytes_list = 1; }
message Features { map<string, Feature> feature = 1; }
message Example { Features features = 1; }
message ExampleList { repeated Example examples = 1; }
message Input {
  ExampleList example_list = 1;
  ExampleList example_list_with_context = 2;
}
message ClassificationRequest { ModelSpec model_spec = 1; Input input = 2; }
message Class { string label = 1; float score = 2; }
message Classifications { repeated Class classes = 1; }
message ClassificationResult { repeated Classifications classifications = 1; }
message ClassificationResponse {
  ClassificationResult result = 1;
  ModelSpec model_spec = 2;
}
message GetModelMetadataRequest {
  ModelSpec model_spec = 1;
  repeated string metadata_field = 2;
}
message GetModelMetadataResponse {
  ModelSpec model_spec = 1;
  map<string, Any> metadata = 2;
}
message TensorInfo { string name = 1; int32 dtype = 2; TensorShape tensor_shape = 3; }
message SignatureDef {
  map<string, TensorInfo> inputs = 1;
  map<string, TensorInfo> outputs = 2;
  string method_name = 3;
}
message SignatureDefMap { map<string, SignatureDef> signature_def = 1; }
message GetModelStatusRequest { ModelSpec model_spec = 1; }
message Status { int32 error_code = 1; string error_message = 2; }
message ModelVersionStatus { int64 version = 1; int32 state = 2; Status status = 3; }
message GetModelStatusResponse { repeated ModelVersionStatus model_version_status = 1; }
"""
FIELD = re.compile(r"(repeated |map<string, )?(\w+)>? (\w+) = (\d+);")

DT_FLOAT, DT_STRING = 1, 7
"""Values of tensorflow.DataType."""

STATES = {"UNKNOWN": 0, "START": 10, "LOADING": 20, "AVAILABLE": 30, "END": 50}
"""Values of tensorflow.serving.ModelVersionStatus.State."""


def _built() -> dict[str, Any]:
    """Returns name -> class of each message in PROTO."""
    file = descriptor_pb2.FileDescriptorProto(
        name="poets/serving.proto", package=PACKAGE, syntax="proto3"
    )
    for name, body in re.findall(r"message (\w+) {(.*?)}", PROTO, re.DOTALL):
        message = file.message_type.add(name=name)
        for many, kind, field, number in FIELD.findall(body):
            if many.startswith("map"):
                kind = _add_entry(message, name, field, kind)
            _add_field(message, field, int(number), kind, bool(many))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{PACKAGE}.{message.name}")
        )
        for message in file.message_type
    }


def _add_entry(message: Any, name: str, field: str, kind: str) -> str:
    """Adds the nested message that a map's entries are; returns its name."""
    entry = message.nested_type.add(name=f"{field.title().replace('_', '')}Entry")
    entry.options.map_entry = True
    _add_field(entry, "key", 1, "string", False)
    _add_field(entry, "value", 2, kind, False)
    return f"{name}.{entry.name}"


def _add_field(message: Any, name: str, number: int, kind: str, repeated: bool) -> None:
    field = message.field.add(name=name, number=number)
    field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
    if kind.islower():
        field.type = field.Type.Value(f"TYPE_{kind.upper()}")
    else:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


MESSAGES = _built()
"""Name -> class."""
