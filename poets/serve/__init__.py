"""A trained model in use: each face of it is a module.

    server           `poets serve`: a model server with REST, gRPC and a page
    abaco            one message, one answer: an Abaco actor
    openwhisk        `/init` and `/run`: an OpenWhisk action

None imports another, nor code that trains.
"""
