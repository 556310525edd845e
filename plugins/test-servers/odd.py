"""Servers that speak no protocol. Arguments: port that answers with noise, port
that says nothing, port that hangs up at once, port that answers with one endless
line of letters."""

import asyncio
import random
import sys


async def noise(reader, writer):
    writer.write(random.Random(1).randbytes(200_000))
    writer.close()


async def silence(reader, writer):
    await asyncio.sleep(60)


async def hang_up(reader, writer):
    writer.close()


async def endless(reader, writer):
    try:
        while True:
            writer.write(b"a" * 65536)
            await writer.drain()
    except ConnectionError:
        pass


async def main():
    servers = [
        await asyncio.start_server(handler, "127.0.0.1", int(port))
        for handler, port in zip((noise, silence, hang_up, endless), sys.argv[1:])
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main())
