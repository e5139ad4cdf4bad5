"""gRPC and protobuf: the only package that sees tango.v1; everyone above speaks the model."""
