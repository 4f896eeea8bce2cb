"""The protovalidate annotations, generated from protos/buf/validate."""
