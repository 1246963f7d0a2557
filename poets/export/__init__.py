"""Writes the trained classifier in the formats that its users load.

    frozen        output_graph        TensorFlow 1.x and 2.x programs
    saved_model   saved_model_dir     TensorFlow Serving
    litert        output_graph.tflite `poets label`, phones, anything without TensorFlow

Before anything is published, `poets.export.verify` loads each export and compares its
scores with those of the trained head.
"""
