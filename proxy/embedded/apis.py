"""The messages of tensorflow-serving-api. They import TensorFlow, so `runtime` comes first: it does so quietly."""

from proxy.embedded.runtime import tf as tf

# isort: split
from tensorflow.core.framework import types_pb2 as types_pb2
from tensorflow_serving.apis import classification_pb2 as classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2 as get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2 as get_model_status_pb2
from tensorflow_serving.apis import inference_pb2 as inference_pb2
from tensorflow_serving.apis import model_pb2 as model_pb2
from tensorflow_serving.apis import predict_pb2 as predict_pb2
from tensorflow_serving.apis import regression_pb2 as regression_pb2
