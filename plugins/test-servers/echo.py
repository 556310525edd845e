"""A WebSocket server that says back what it hears. Arguments: port, port with
TLS, file with certificate and key."""

import asyncio
import ssl
import sys

import websockets


async def echo(connection, *_):
    async for message in connection:
        await connection.send(message)


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3])
    plain, tls = int(sys.argv[1]), int(sys.argv[2])
    async with websockets.serve(echo, "127.0.0.1", plain, subprotocols=["chat"]):
        async with websockets.serve(echo, "127.0.0.1", tls, ssl=context):
            await asyncio.Future()


asyncio.run(main())
