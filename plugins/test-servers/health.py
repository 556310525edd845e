"""gRPC servers. Arguments: port with a health service, the same with TLS, port
of a server without one, file of the certificate, file of its key.

The messages are written by hand: field 1 of the request is the service's name,
field 1 of the answer its state."""

import sys
import time
from concurrent import futures

import grpc

STATES = {"": 1, "shop.Cart": 1, "shop.Pay": 2}


def check(request, context):
    service = request[2:].decode()
    if service == "shop.Slow":
        time.sleep(30)
    if service not in STATES:
        context.abort(grpc.StatusCode.NOT_FOUND, "no such service, 100%")
    return bytes([8, STATES[service]])


def server(*handlers):
    # Others on this machine may not share a port.
    made = grpc.server(futures.ThreadPoolExecutor(4), handlers=handlers, options=[("grpc.so_reuseport", 0)])
    return made


health = grpc.method_handlers_generic_handler(
    "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
)
plain, tls, bare = sys.argv[1:4]
certificate, key = (open(path, "rb").read() for path in sys.argv[4:6])
one, two = server(health), server()
assert one.add_insecure_port(f"127.0.0.1:{plain}") == int(plain)
assert one.add_secure_port(f"127.0.0.1:{tls}", grpc.ssl_server_credentials([(key, certificate)])) == int(tls)
assert two.add_insecure_port(f"127.0.0.1:{bare}") == int(bare)
one.start()
two.start()
one.wait_for_termination()
