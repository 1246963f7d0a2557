"""A picture that kills the process that decodes it."""

DEADLY = b"this picture kills"

# A decoder that crashes on one picture: a child finds it before the real one.
DEADLY_DECODER = f"""
    import importlib.machinery, importlib.util, os, signal, sys

    here = os.path.dirname(__file__)
    path = [entry for entry in sys.path if entry != here]
    spec = importlib.machinery.PathFinder.find_spec("simplejpeg", path)
    real = importlib.util.module_from_spec(spec)
    sys.modules["simplejpeg"] = real
    spec.loader.exec_module(real)
    decode_jpeg_header = real.decode_jpeg_header

    def deadly(data, *args, **more):
        if {DEADLY!r} in data:
            print("libjpeg: the sky is falling", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        return decode_jpeg_header(data, *args, **more)

    real.decode_jpeg_header = deadly
"""
