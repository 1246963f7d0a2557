"""The model server.

run           ports, start and end            guard, telemetry   around each request
tf_rest, tf_grpc, open_inference, page        interfaces; signatures, inputs: shared
models        models and their versions       scoring ──> process: one a core
"""
