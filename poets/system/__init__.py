"""The machine under the job: processes, memory, deadlines, progress, TensorFlow."""
