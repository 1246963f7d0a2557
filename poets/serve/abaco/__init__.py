"""Abaco actors: `python -m poets.serve.abaco`, and `poets abaco` to send messages.

message       what the platform hands over    client, batch    the platform over HTTP
one_picture   a picture in, lines out         classify_image   the original's command
"""
