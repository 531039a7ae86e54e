"""grpc.health.v1 and server reflection: what probes and people ask a gRPC server.

Both are the standard libraries' servicers. Health answers for the whole server and for each service, under its full
name and under the short one that TensorFlow Serving uses. Reflection shows the messages under their real names: our own
definitions carry a package prefix (see `protos/serving.proto`), which is taken off in a descriptor pool of its own.
"""

import grpc.aio
from google.protobuf import descriptor_pb2, text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection, reflection_pb2

from protos import serving_pb2

_SERVICES = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
_HEALTH_NAMES = ("", *_SERVICES, "PredictionService", "ModelService")


class Health:
    """The health service; not serving until told."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._servicer = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set(self, serving: bool) -> None:
        """Answers SERVING or NOT_SERVING for every name; watchers are told."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in _HEALTH_NAMES:
            await self._servicer.set(name, status)

    async def shut_down(self) -> None:
        """NOT_SERVING for good."""
        await self._servicer.enter_graceful_shutdown()


def enable_reflection(server: grpc.aio.Server) -> None:
    """Adds server reflection for the services that the proxy answers."""
    pool = DescriptorPool()
    done: set[str] = set()
    for file in (serving_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        _add(pool, file, done)
    names = (*_SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server, pool=pool)


def _add(pool: DescriptorPool, file: FileDescriptor, done: set[str]) -> None:
    for dependency in file.dependencies:
        if dependency.name not in done:
            _add(pool, dependency, done)
    done.add(file.name)
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    # In text the prefix stands only at the start of quoted names, so that this is exact and lengths need no care.
    text = text_format.MessageToString(proto).replace('"tensorwall.', '"').replace('".tensorwall.', '".')
    pool.AddSerializedFile(text_format.Parse(text, descriptor_pb2.FileDescriptorProto()).SerializeToString())
