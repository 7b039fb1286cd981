"""Websocket server, or users of one: they stay connected, ping, and say something now and then.

socket_users.py serve
socket_users.py use URL USERS SECONDS
"""

import asyncio
import random
import sys

import websockets


async def echo(socket, *_):
    async for message in socket:
        await socket.send(message)


async def serve():
    async with websockets.serve(echo, None, 80, ping_interval=5):
        await asyncio.Future()


async def use(url, seconds):
    try:
        async with websockets.connect(url, ping_interval=4, open_timeout=4) as socket:
            end = asyncio.get_running_loop().time() + seconds
            while asyncio.get_running_loop().time() < end:
                await socket.send("x" * random.randint(20, 200))
                await socket.recv()
                await asyncio.sleep(random.expovariate(0.5))
    except (OSError, asyncio.TimeoutError, websockets.WebSocketException) as error:
        print("failed", error)


async def all_users():
    url, users, seconds = sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    await asyncio.gather(*(use(url, seconds) for _ in range(users)))


asyncio.run(serve() if sys.argv[1] == "serve" else all_users())
