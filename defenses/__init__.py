"""What is done to a request and to a reply: pure functions over arrays, without gRPC."""
