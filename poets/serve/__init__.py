"""A trained model in use, one face each; none imports another, nor code that trains.

server/       `poets serve`: a model server with REST, gRPC and a page
abaco/        one message, one answer: an Abaco actor, and a client of the platform
openwhisk     `/init` and `/run`: an OpenWhisk action
"""
