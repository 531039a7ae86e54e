"""Whatever does I/O or knows gRPC: the request path, its edges and the commands."""
