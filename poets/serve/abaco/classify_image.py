"""Classifies one image file, with the flags and the lines of `classify_image.py`.

    python -m poets.serve.abaco.classify_image --image_file panda.jpg

Without flags it classifies the panda in the archive of the ImageNet network.
"""

from poets.classifier import imagenet
from poets.errors import ConfigError
from poets.serve.abaco.one_picture import (
    Best,
    add_network_flags,
    classify,
    fetch,
    run_program,
)
from poets.storage import join, read_url, scheme_of
from poets.system.command_line import Parser

WEB = ("http", "https")


def build_parser() -> Parser:
    """Returns the parser of the flags."""
    parser = Parser(
        prog="python -m poets.serve.abaco.classify_image", description=__doc__
    )
    add_network_flags(parser)
    parser.add_argument(
        "--image_file",
        default="",
        help="file on any storage, or an http(s) URL (default: cropped_panda.jpg in "
        "model_dir)",
    )
    parser.add_argument(
        "--num_top_predictions",
        type=int,
        default=5,
        help="lines to print (default: %(default)s)",
    )
    return parser


def answer() -> Best:
    """Returns the best labels of the image that the flags name."""
    args = build_parser().parse_args()
    if args.num_top_predictions < 1:
        raise ConfigError(
            f"--num_top_predictions={args.num_top_predictions}: must be at least 1"
        )
    files = imagenet.FILES if args.image_file else (*imagenet.FILES, imagenet.PANDA)
    graph = imagenet.unpack(args.model_dir, args.model_url, files)
    image = args.image_file or join(args.model_dir, imagenet.PANDA)
    if scheme_of(image) in WEB:
        data = fetch("--image_file", image, None)
    else:
        data = read_url(image)
    return classify(graph, data, args.num_top_predictions)


if __name__ == "__main__":
    run_program("classify_image", answer)
