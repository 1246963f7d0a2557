"""The trained classifier in the forms that its users load.

    frozen        output_graph        TensorFlow 1.x and 2.x programs
    saved_model   saved_model_dir     TensorFlow Serving
    litert        output_graph.tflite `poets label`, phones, anything without TensorFlow

Each is read back from what was written and scored by `poets.export.verify` against
the head that was trained, before anything is published.
"""
